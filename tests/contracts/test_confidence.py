"""Maps of confidence weight the loss of training and validation, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from softseg.cli.main import app
from softseg.config.load import load_experiment
from softseg.core.errors import UserError
from tests.support import makers

SHAPE = (24, 24, 4)
YAML = """\
name: tiny
split: {{by: subject, test: 1, validation: 1}}
dataset:
  loader: files
  root: data
  contrasts: [T2]
  image: '{{subject}}_T2.nii.gz'
  label: '{{subject}}_seg.nii.gz'
  targets: {{lesion: {{{target}}}}}
  cache: null
preprocess: [standardize: {{}}, resample: {{zooms: [1.3, 1.3, null]}}, crop: {{size: [16, 16]}}]
augment: [affine: {{}}]
extends: network.yaml
loss: {{name: {loss}}}
trainer: {{batch_size: 4, max_epochs: 2, threads: 1, device: cpu, learning_rate: 0.05,
  schedule: {{name: constant}}}}
"""
MAP = "confidence: '{subject}_conf.nii.gz'"
NETWORK = "model: {depth: 1, filters: 2, dropout: 0.1, head: {name: sigmoid, prior: 0.3}}\n"
NETWORK_3D = NETWORK.replace("{depth", "{name: unet3d, depth") + "patches: {size: [12, 12, 4]}\n"


@pytest.fixture(params=[NETWORK, NETWORK_3D], ids=["2d", "3d"])
def folder(request, tmp_path, monkeypatch):
    """Four scans; the code 2 marks voxels that nobody looked at, as the map, which is 0 there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "network.yaml").write_text(request.param)
    for number in range(4):
        mask = np.roll(makers.ball(SHAPE, soft=False), number, axis=0)
        noise = np.random.default_rng(number).normal(0, 8, SHAPE)
        makers.nifti(tmp_path / f"data/c{number}_T2.nii.gz", 100 + 80 * mask + noise)
        mask[:, :12] = 2
        makers.nifti(tmp_path / f"data/c{number}_seg.nii.gz", mask, dtype=np.uint8)
    write_maps(tmp_path, lambda known: known)
    return tmp_path


def write_maps(folder, of_known):
    """A map of each scan, made of an array that is 0 where nobody looked and 1 elsewhere."""
    known = np.ones(SHAPE)
    known[:, :12] = 0
    for number in range(4):
        makers.nifti(folder / f"data/c{number}_conf.nii.gz", of_known(known))


def softseg(*words, target, loss="dml1"):
    Path("tiny.yaml").write_text(YAML.format(target=target, loss=loss))
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def history(run, **options):
    softseg("train", "tiny.yaml", "--out", f"runs/{run}", **options)
    table = pd.read_csv(f"runs/{run}/history.csv")
    return table.drop(columns=["train_seconds", "val_seconds"]).to_numpy().tolist()


@pytest.mark.parametrize("loss", ["mse", "dml1", "unified_focal"])
def test_a_map_of_0_and_1_trains_as_codes_to_ignore_to_the_bits(folder, loss):
    expected = history("codes", target="values: [1], ignore: [2]", loss=loss)
    assert history("map", target=f"values: [1], {MAP}", loss=loss) == expected
    assert history("both", target=f"values: [1], ignore: [2], {MAP}", loss=loss) == expected
    write_maps(folder, lambda known: 0.25 + 0.75 * known)
    assert history("weighted", target=f"values: [1], {MAP}", loss=loss) != expected


def test_a_softened_mask_makes_no_edge_at_voxels_of_confidence_0(folder):
    soften = "soften: {gaussian: {sigma_mm: 1}}"
    expected = history("codes", target=f"values: [1], ignore: [2], {soften}")
    assert history("map", target=f"values: [1], {MAP}, {soften}") == expected


def test_a_map_of_1_trains_as_none_to_the_bits(folder):
    write_maps(folder, np.ones_like)
    expected = history("none", target="values: [1]")
    assert history("map", target=f"values: [1], {MAP}") == expected


def test_scores_do_not_depend_on_confidence(folder):
    """Those of one network; voxels of confidence 0 count in them, too."""
    output = softseg("train", "tiny.yaml", target=f"values: [1], {MAP}")
    assert "ignored lesion" in output
    assert "no loss there (codes to ignore, and confidence 0)" in output
    assert "weights lesion 0." in output
    softseg("eval", "runs/tiny", target="values: [1]")
    scores = pd.read_csv("runs/tiny/metrics.csv")
    assert "ignored_ml" not in scores
    assert scores["volume_truth_ml"].item() > 0
    write_maps(folder, lambda known: 0.5 * known)
    softseg("eval", "runs/tiny", target="values: [1]")
    pd.testing.assert_frame_equal(pd.read_csv("runs/tiny/metrics.csv"), scores)


def test_other_data_needs_no_maps(folder):
    softseg("train", "tiny.yaml", target=f"values: [1], {MAP}")
    makers.nifti(folder / "other/d0_T2.nii.gz", makers.scan(9, SHAPE))
    makers.nifti(folder / "other/d0_seg.nii.gz", makers.ball(SHAPE, soft=False), dtype=np.uint8)
    softseg("eval", "runs/tiny", "--data", "other", target="values: [1]")
    assert pd.read_csv("runs/tiny/metrics-other.csv")["subject"].tolist() == ["d0"]


def test_resuming_with_other_maps_is_rejected(folder):
    softseg("train", "tiny.yaml", target=f"values: [1], {MAP}")
    write_maps(folder, lambda known: 0.5 * known)
    with pytest.raises(UserError, match="masks or confidence maps of c0, c1, c2, c3 have changed"):
        softseg("train", "tiny.yaml", "--resume", "--extend", "--set", "trainer.max_epochs=3",
                target=f"values: [1], {MAP}")  # fmt: skip


def test_maps_of_0_leave_nothing_to_train_on(folder):
    write_maps(folder, np.zeros_like)
    with pytest.raises(UserError, match=r"(all|every) voxel.* ignored.*targets\.X\.confidence"):
        softseg("train", "tiny.yaml", target=f"values: [1], {MAP}")


@pytest.mark.parametrize(
    "loss",
    [
        "boundary",
        "region_wise, map: active_contour",
        "combination, terms: [{loss: {name: mse}}, {loss: {name: boundary}, weight: 0.1}]",
    ],
)
def test_a_contour_loss_cannot_be_weighted(folder, loss):
    path = folder / "tiny.yaml"
    path.write_text(YAML.format(target=f"values: [1], {MAP}", loss=loss))
    message = (
        r"tiny\.yaml:14: loss: \w+ cannot be weighted, .*remove dataset\.targets\.lesion\.conf"
    )
    with pytest.raises(UserError, match=message):
        load_experiment(path)
    path.write_text(YAML.format(target="values: [1]", loss=loss))
    load_experiment(path)
