"""A region that nobody labelled is no background: not in training, scores, thresholds, figures."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from nibabel.loadsave import load
from typer.testing import CliRunner

from softseg.cli.main import app
from softseg.core.errors import UserError
from softseg.evaluation import threshold_search, uncertainty
from softseg.evaluation.recalibration import recalibrate
from softseg.report import figures
from tests.support import makers

SHAPE = (24, 24, 4)
YAML = """\
name: tiny
split: {{by: subject, test: 1, validation: 1}}
dataset: {{root: data, contrasts: [T2], cache: null, {dataset}}}
preprocess: [standardize: {{}}, crop: {{size: [24, 24]}}]
extends: network.yaml
loss: {{name: {loss}}}
trainer: {{batch_size: 4, max_epochs: 2, threads: 1, device: cpu, learning_rate: 0.05}}
evaluate: {{lesions: {{}}, metrics: {{surface_tolerance_mm: 1}}}}
"""
NNUNET = "loader: nnunet, targets: {lesion: {values: [1]}}"
FILES = (
    "loader: files, image: 'imagesTr/{subject}_0000.nii.gz', label: 'labelsTr/{subject}.nii.gz', "
    "targets: {lesion: {values: [1], ignore: [2]}}"
)


NETWORK = "model: {depth: 1, filters: 2, dropout: 0.1, head: {name: sigmoid, prior: 0.3}}\n"
NETWORK_3D = NETWORK.replace("{depth", "{name: unet3d, depth") + "patches: {size: [24, 24, 4]}\n"


@pytest.fixture(params=[NETWORK, NETWORK_3D], ids=["2d", "3d"])
def folder(request, tmp_path, monkeypatch):
    """Four scans; what is left of the middle was not annotated, whatever is there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "network.yaml").write_text(request.param)
    for number in range(4):
        mask = np.roll(makers.ball(SHAPE, soft=False), number, axis=0)
        noise = np.random.default_rng(number).normal(0, 8, SHAPE)
        makers.nifti(tmp_path / f"data/imagesTr/c{number}_0000.nii.gz", 100 + 80 * mask + noise)
        mask[:, :12] = 2
        makers.nifti(tmp_path / f"data/labelsTr/c{number}.nii.gz", mask, dtype=np.uint8)
    describe(tmp_path, "ignore")
    return tmp_path


def describe(folder, name):
    labels = {"background": 0, "lesion": 1, name: 2}
    content = {"channel_names": {"0": "T2"}, "labels": labels, "numTraining": 4}
    (folder / "data/dataset.json").write_text(json.dumps({**content, "file_ending": ".nii.gz"}))


def softseg(folder, *words, dataset=NNUNET, loss="dml1"):
    (folder / "tiny.yaml").write_text(YAML.format(dataset=dataset, loss=loss))
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def history(folder, run, **options):
    softseg(folder, "train", "tiny.yaml", "--out", f"runs/{run}", **options)
    table = pd.read_csv(folder / "runs" / run / "history.csv")
    return table.drop(columns=["train_seconds", "val_seconds"]).to_numpy().tolist()


def test_the_label_ignore_of_nnunet_counts_nowhere(folder):
    assert "ignored voxels 1152 in 4 masks" in softseg(folder, "data", "check", "tiny.yaml")
    assert "ignored lesion 50.0 %" in softseg(folder, "train", "tiny.yaml")
    output = softseg(folder, "eval", "--threshold-search", "runs/tiny")
    assert "ignored volume [ml]" in output
    [row] = pd.read_csv(folder / "runs/tiny/metrics.csv").to_dict("records")
    subject, threshold = row["subject"], row["threshold"]
    [prediction] = (folder / "runs/tiny/predictions").rglob(f"{subject}_*_probseg.nii.gz")
    soft = load(prediction).get_fdata().astype(np.float32)[:, 12:]
    truth = load(folder / f"data/labelsTr/{subject}.nii.gz").get_fdata()[:, 12:]
    mask = soft >= np.float32(threshold)
    expected = 200 * (mask & (truth == 1)).sum() / (mask.sum() + (truth == 1).sum())
    assert row["dice"] == pytest.approx(expected)
    assert row["mse"] == pytest.approx(100 * np.square(soft - truth).mean(), rel=1e-5)
    assert row["volume_truth_ml"] == pytest.approx((truth == 1).sum() / 1000)
    assert row["ignored_ml"] == pytest.approx(truth.size / 1000)


@pytest.mark.parametrize("loss", ["dml1", "adaptive_wing", "unified_focal"])
def test_training_does_not_depend_on_the_masks_in_an_ignored_region(folder, loss):
    """Nor on who says that it is to be ignored: dataset.json, or a YAML file for any loader."""
    expected = history(folder, "nnunet", loss=loss)
    assert history(folder, "files", dataset=FILES, loss=loss) == expected
    describe(folder, "learned")
    assert history(folder, "learned", loss=loss) != expected
    targets = NNUNET.replace("[1]}", "[1], ignore: [2]}")
    assert history(folder, "by_hand", dataset=targets, loss=loss) == expected


def test_a_soft_mask_with_a_code_for_unknown_voxels_stays_soft(folder):
    for number in range(4):
        mask = np.roll(makers.ball(SHAPE), number, axis=0)
        mask[:, :12] = 255
        makers.nifti(folder / f"data/labelsTr/c{number}.nii.gz", mask)
    dataset = FILES.replace("values: [1], ignore: [2]", "ignore: [255]")
    output = softseg(folder, "train", "tiny.yaml", dataset=dataset)
    assert "ignored lesion 50.0 %" in output
    assert "soft voxels of those above 0: files 0.0 %" not in output


def test_scans_annotated_on_a_few_slices_train_on_these(folder):
    """Sparse annotation: every other slice is ignored completely.

    It is left out of the batches of a 2D network.
    """
    for path in (folder / "data/labelsTr").iterdir():
        mask = load(path).get_fdata()
        mask[:, :12], mask[..., :2] = 0, 2
        makers.nifti(path, mask, dtype=np.uint8)
    output = softseg(folder, "train", "tiny.yaml")
    in_3d = "unet3d" in (folder / "network.yaml").read_text()
    assert f"training 2 subjects, {'2 volumes' if in_3d else '4 slices'}" in output


def test_a_dataset_in_which_all_is_ignored_is_rejected(folder):
    for path in (folder / "data/labelsTr").iterdir():
        makers.nifti(path, np.full(SHAPE, 2), dtype=np.uint8)
    (folder / "tiny.yaml").write_text(YAML.format(dataset=NNUNET, loss="mse"))
    message = r"every training (slice; .* all voxels are|volume is) ignored"
    with pytest.raises(UserError, match=message):
        softseg(folder, "train", "tiny.yaml")
    assert not (folder / "runs").exists()


def test_every_command_after_training_leaves_ignored_voxels_out(folder, monkeypatch):
    """Threshold search, recalibration, uncertainty, examples and progressions get the mask."""
    seen = {}

    def record(module, name, mask_of):
        function = getattr(module, name)

        def recorded(*arguments, **options):
            seen.setdefault(name, mask_of(*arguments))
            return function(*arguments, **options)

        monkeypatch.setattr(module, name, recorded)

    record(threshold_search, "dice_curve", lambda soft, truth, ignore: ignore)
    record(recalibrate, "collect_evidence", lambda soft, truth, voxel_ml, ignore: ignore)
    record(recalibrate, "Volume", lambda soft, truth, grid, ignore: ignore)
    record(uncertainty, "score_uncertainty", lambda *arguments: arguments[-1])
    record(figures, "plot_examples", lambda examples, *_: examples[0].ignore)
    record(figures, "plot_progression", lambda *arguments: arguments[-1])
    softseg(folder, "train", "tiny.yaml")
    for words in (["--threshold-search"], ["--recalibrate", "monotone"]):
        softseg(folder, "eval", *words, "runs/tiny")
    softseg(folder, "eval", "--uncertainty", "mc-dropout", "--samples", "2", "runs/tiny")
    softseg(folder, "report", "runs/tiny")
    assert {name: float(mask.mean()) for name, mask in seen.items()} == dict.fromkeys(seen, 0.5)
    assert len(seen) == 6
    assert "ignored" in (folder / "runs/tiny/report.html").read_text()
