"""Intervals calibrated on the validation scans of a tiny trained run."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.data.nifti.io import read_volume
from softseg.inference.model import open_model
from softseg.inference.predict import Options, predict_scans
from softseg.inference.scans import find_scans
from softseg.measurement.intervals import calibrate, open_calibration
from softseg.measurement.measure import measure_folder, tabulate
from softseg.package import read_package, write_package
from softseg.runs.folder import Run
from softseg.training.train import train
from tests.support import makers
from tests.support.command import command
from tests.support.segmentations import write_segmentation

SHAPE = (16, 14, 4)
AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])
VALIDATION = [f"s{number:02d}" for number in range(3, 12)]  # nine: the fewest for 90 %
CONFIG = """
name: ball
dataset:
  loader: files
  root: {root}
  image: "{{subject}}_T2w.nii.gz"
  label: "{{subject}}_seg.nii.gz"
  contrasts: [T2w]
  targets: {{ball: {{}}}}
  cache: null
split: {{by: subject, test: [s00], validation: [{validation}]}}
preprocess:
  - standardize: {{over: volume, region: all}}
  - crop: {{size: [12, 12], around: image}}
model: {{depth: 2, filters: 4, dropout: 0, head: {{name: sigmoid, prior: 0.3}}}}
loss: {{name: dml1}}
trainer: {{batch_size: 4, max_epochs: 1, learning_rate: 0.01, early_stopping: null, threads: 1}}
"""


def quiet():
    return Console(file=io.StringIO(), width=500)


def truth_of(seed):
    return makers.ball(SHAPE) * (1 - 0.03 * seed)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for seed in range(12):
        noise = np.random.default_rng(seed).normal(0, 8, SHAPE)
        image = (100 + 80 * truth_of(seed) + noise).astype(np.float32)
        makers.nifti(root / f"s{seed:02d}_T2w.nii.gz", image, AFFINE)
        makers.nifti(root / f"s{seed:02d}_seg.nii.gz", truth_of(seed), AFFINE)
    config = root / "ball.yaml"
    config.write_text(CONFIG.format(root=root, validation=", ".join(VALIDATION)))
    folder = tmp_path_factory.mktemp("runs") / "ball"
    return train(load_config(config, Experiment), folder, quiet())


@pytest.fixture(scope="module")
def calibration(run):
    return calibrate(run, quiet())


def measure(folder, calibration, level=0.9):
    return tabulate(measure_folder(folder, quiet()), calibration, level)


def images(run, *subjects):
    root = load_config(run.config, Experiment).dataset.existing_root()
    return [root / f"{subject}_T2w.nii.gz" for subject in subjects]


def predict(run, subjects, out, threshold=None):
    model = open_model(run.folder, "cpu")
    scans = find_scans(images(run, *subjects), model.contrasts)
    assert not predict_scans([model], scans, out, quiet(), Options(threshold)).problems
    return out


@pytest.fixture(scope="module")
def predicted(run, tmp_path_factory):
    """What `predict` writes of the test scan."""
    return predict(run, ["s00"], tmp_path_factory.mktemp("predicted"))


@pytest.fixture(scope="module")
def package(run, calibration, tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "ball.softseg"
    return write_package(run, path, quiet())


def test_the_errors_are_those_of_what_predict_writes(run, calibration, tmp_path):
    predict(run, VALIDATION, tmp_path)
    for kind, suffix in (("soft", "probseg"), ("binary", "mask")):
        volume, area = [], []
        for name in VALIDATION:
            segmented = read_volume(tmp_path / f"{name}_T2w_label-ball_{suffix}.nii.gz").data
            gap = segmented.astype(float) - truth_of(int(name[1:]))
            volume.append(abs(gap.sum()) * 0.003)
            area.append(np.abs(gap.sum(axis=(0, 2))).max() * 2)
        errors = calibration.errors.targets["ball"]
        assert errors.volume_ml[kind] == pytest.approx(sorted(volume), rel=1e-3, abs=1e-6)
        of_axis = errors.area_mm2["posterior-anterior"][kind]
        assert of_axis == pytest.approx(sorted(area), rel=1e-3, abs=1e-3)


def test_the_intervals_are_the_largest_of_nine_errors(run, calibration, predicted):
    measures = measure(predicted, calibration)
    errors = calibration.errors.targets["ball"]
    for kind in ("soft", "binary"):
        [row] = measures.scans.to_dict("records")
        margin = max(errors.volume_ml[kind])
        assert row[f"{kind}_high_ml"] == pytest.approx(row[f"{kind}_ml"] + margin)
        assert row[f"{kind}_low_ml"] == pytest.approx(max(0, row[f"{kind}_ml"] - margin))
        margin = max(errors.area_mm2["inferior-superior"][kind])
        slices = measures.slices
        gaps = (slices[f"{kind}_high_mm2"] - slices[f"{kind}_mm2"]).to_numpy()
        assert gaps == pytest.approx(margin)
        assert (slices[f"{kind}_low_mm2"] >= 0).all()


def test_the_margin_falls_with_the_level(run, calibration):
    margins = [
        calibration.margins("inferior-superior", level)["ball"].volume_ml["soft"]
        for level in (0.9, 0.7, 0.5)
    ]
    assert margins == sorted(margins, reverse=True)
    assert margins[2] == calibration.errors.targets["ball"].volume_ml["soft"][4]


def test_too_few_validation_scans_for_the_level(run, calibration, predicted):
    message = r"has 9 validation scan\(s\), but intervals of 95 % need at least 19"
    with pytest.raises(UserError, match=message):
        measure(predicted, calibration, 0.95)
    before = (run.folder / "volume_calibration.json").stat().st_mtime_ns
    with pytest.raises(UserError, match=message):
        open_calibration(run.folder, quiet(), 0.95)
    assert (run.folder / "volume_calibration.json").stat().st_mtime_ns == before


def test_the_run_holds_what_it_was_calibrated_with(run, calibration):
    stored = json.loads((run.folder / "volume_calibration.json").read_text())
    assert stored.pop("subjects") == VALIDATION
    assert stored == calibration.errors.model_dump(mode="json")


def test_a_package_has_the_same_intervals_and_no_names(run, calibration, package, predicted):
    of_package = open_calibration(package, quiet())
    assert of_package.errors == calibration.errors
    assert of_package.learned == frozenset()
    tables = [measure(predicted, each).scans for each in (calibration, of_package)]
    assert tables[0].equals(tables[1])
    assert not any(name in json.dumps(read_package(package).metadata) for name in VALIDATION)


def test_a_package_without_calibration(run, predicted, tmp_path):
    copied = Run(shutil.copytree(run.folder, tmp_path / "run"))
    (copied.folder / "volume_calibration.json").unlink(missing_ok=True)
    path = write_package(copied, tmp_path / "ball.softseg", quiet())
    with pytest.raises(UserError, match="has no calibration of volumes; run softseg measure"):
        open_calibration(path, quiet())
    with pytest.raises(UserError, match="--set and --device are for a run"):
        open_calibration(path, quiet(), changes=["trainer.device=cpu"])


def test_a_calibration_of_other_weights_is_not_packaged(run, calibration, tmp_path):
    copied = Run(shutil.copytree(run.folder, tmp_path / "run"))
    path = copied.folder / "volume_calibration.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights": "other"}))
    package = write_package(copied, tmp_path / "ball.softseg", quiet())
    assert read_package(package).metadata["volume_calibration"] is None


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"subjects": [], "model": 1}'])
def test_a_damaged_calibration_is_not_packaged(run, tmp_path, content):
    copied = Run(shutil.copytree(run.folder, tmp_path / "run"))
    (copied.folder / "volume_calibration.json").write_text(content)
    with pytest.raises(UserError, match=r"volume_calibration.json is damaged; delete it, or run"):
        write_package(copied, tmp_path / "ball.softseg", quiet())
    assert not (tmp_path / "ball.softseg").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"Model": "other"}, "s1_label-ball_mask.nii.gz: was segmented by other"),
        ({"Threshold": 0.3}, "s1_label-ball_mask.nii.gz: has threshold 0.3, not 0.5"),
        (
            {"Postprocessing": [{"keep_largest": {}}]},
            "s1_label-ball_mask.nii.gz: was postprocessed",
        ),
        ({"Mirrored": True}, "s1_label-ball_mask.nii.gz: was made with mirroring, unlike"),
        ({"Weights": "0123456789abcdef"}, "s1_.*: was segmented by other weights of ball"),
        ({"Uncertainty": {"Method": "ensemble"}}, "s1_label-ball_mask.nii.gz: is of an ensemble"),
    ],
)
def test_segmentations_of_another_model_have_no_intervals(calibration, tmp_path, changed, message):
    sidecar = {"Model": "ball", "Threshold": 0.5}
    write_segmentation(tmp_path, "s0", **sidecar)
    write_segmentation(tmp_path, "s1", **{**sidecar, **changed})
    with pytest.raises(UserError, match=message) as error:
        measure(tmp_path, calibration)
    assert "s0_label" not in str(error.value)


def test_predictions_of_a_twin_of_the_model_have_no_intervals(run, calibration, tmp_path):
    """The same configuration with other weights of the same epoch, as of another split."""
    copied = Run(shutil.copytree(run.folder, tmp_path / "twin"))
    for path in (copied.best, copied.last):
        saved = torch.load(path, weights_only=True)
        first = next(name for name, value in saved["model"].items() if value.is_floating_point())
        saved["model"][first] = saved["model"][first] * 1.001
        torch.save(saved, path)
    predict(copied, ["s00"], tmp_path / "twin-out")
    with pytest.raises(UserError, match="was segmented by other weights of ball"):
        measure(tmp_path / "twin-out", calibration)
    predict(run, ["s00"], tmp_path / "out")
    measure(tmp_path / "out", calibration)


def test_a_target_that_the_model_does_not_have(calibration, tmp_path):
    write_segmentation(tmp_path, "s0", target="bal", Model="ball", Threshold=0.5)
    with pytest.raises(UserError, match=r"no target 'bal' \(did you mean 'ball'\?\)"):
        measure(tmp_path, calibration)


def test_scans_of_training_and_validation_are_named(run, calibration, tmp_path, caplog):
    predict(run, ["s00", "s01", "s04"], tmp_path)
    measure(tmp_path, calibration)
    [warning] = caplog.messages
    assert warning.startswith("2 segmentation(s) are of training or validation scans")
    assert "s01_T2w_label-ball_mask.nii.gz, s04_T2w" in warning


def test_masks_of_unknown_origin_are_named(calibration, tmp_path, caplog):
    write_segmentation(tmp_path, "s0")
    write_segmentation(tmp_path, "s1", Model="ball", Threshold=0.5, Sources=None)
    measure(tmp_path, calibration)
    [warning] = caplog.messages
    assert warning.startswith("1 mask(s) have no JSON file with Model and Threshold")
    assert "ball made them: s0_label-ball_mask.nii.gz" in warning


@pytest.mark.parametrize("step", ["keep_largest: {}", "keep_largest: {apply_to: soft}"])
def test_postprocessing_is_part_of_the_calibration(run, tmp_path, step):
    """The calibrated errors are those of what `predict` writes with the same steps."""
    copied = Run(shutil.copytree(run.folder, tmp_path / "run"))
    config = copied.config.read_text()
    assert "postprocess: []" in config
    copied.config.write_text(config.replace("postprocess: []", f"postprocess: [{{{step}}}]"))
    calibration = calibrate(copied, quiet())
    predict(copied, VALIDATION, tmp_path / "out")
    volumes = tabulate(measure_folder(tmp_path / "out", quiet()), calibration).scans
    for kind in ("soft", "binary"):
        truths = [truth_of(int(name[1:])).sum() * 0.003 for name in VALIDATION]
        errors = sorted(abs(volumes[f"{kind}_ml"] - truths))
        stored = calibration.errors.targets["ball"].volume_ml[kind]
        assert stored == pytest.approx(errors, rel=1e-3, abs=1e-6)
    with pytest.raises(UserError, match="postprocessed in another way"):
        measure(predict(run, ["s00"], tmp_path / "other"), calibration)


def test_the_command(run, predicted, tmp_path, monkeypatch, capsys):
    out = tmp_path / "m.csv"
    arguments = ["measure", str(predicted), "--calibrate", str(run.folder), "-o", str(out)]
    assert command(monkeypatch, *arguments) == 0
    assert "± 90 % [ml]" in capsys.readouterr().out
    assert {"soft_low_ml", "binary_high_ml"} <= set(pd.read_csv(out))
    (tmp_path / "bad").mkdir()
    write_segmentation(tmp_path / "bad", "s0", 2 * makers.ball())
    (run.folder / "volume_calibration.json").unlink()
    assert command(monkeypatch, "measure", str(tmp_path / "bad"), *arguments[2:]) == 2
    assert not (run.folder / "volume_calibration.json").exists()  # found before any segmentation
    assert "is not a soft map" in capsys.readouterr().err
    assert command(monkeypatch, *arguments, "--level", "0.95") == 2
    assert "need at least 19" in capsys.readouterr().err
