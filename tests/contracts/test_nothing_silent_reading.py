"""Masks on other scales and headers in other units are read as what they mean, or named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from softseg.cli import main as cli

SHAPE, SUBJECTS = (24, 24, 6), 5
AFFINE = np.diag([-1.0, 1.0, 2.0, 1.0])  # 1 x 1 x 2 mm

CONFIG = """\
name: case
dataset:
  loader: files
  root: data
  image: '{subject}_T2w.nii.gz'
  label: '{subject}_seg.nii.gz'
  contrasts: [T2w]
  targets: {cord: {}}
split: {by: subject, test: 1, validation: 1}
preprocess: [standardize: {region: all}, crop: {size: [24, 24], around: image}]
model: {depth: 1, filters: 2, dropout: 0, head: {name: sigmoid, prior: 0.05}}
loss: {name: dml1}
trainer: {batch_size: 8, max_epochs: 1, early_stopping: null, threads: 1, device: cpu}
"""


def soft(seed: int, radius: float = 6.0) -> np.ndarray:
    """A soft ball, at another place for each seed."""
    center = np.array(SHAPE) / 2 + np.random.default_rng(seed).uniform(-2, 2, 3) * (1, 1, 0)
    away = np.moveaxis(np.indices(SHAPE), 0, -1) - center
    return np.clip((radius - np.linalg.norm(away * (1, 1, 2), axis=-1)) / 3 + 0.5, 0, 1)


def write(path: Path, data: np.ndarray, dtype: Any, affine: np.ndarray, units: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data.astype(dtype), affine)
    image.header["xyzt_units"] = units
    nib.save(image, path)


def make(
    root: Path,
    mask: Callable[[np.ndarray], np.ndarray] = lambda soft: soft,
    dtype: Any = np.float32,
    affine: np.ndarray = AFFINE,
    units: int = 2,
) -> None:
    """Write scans, masks and case.yaml; `mask` is how the file stores a soft mask."""
    for seed in range(SUBJECTS):
        scan = 100 + 80 * soft(seed) + np.random.default_rng(seed).normal(0, 8, SHAPE)
        write(root / f"data/s{seed}_T2w.nii.gz", scan, np.float32, affine, units)
        write(root / f"data/s{seed}_seg.nii.gz", mask(soft(seed)), dtype, affine, units)
    (root / "case.yaml").write_text(CONFIG)


@pytest.fixture
def softseg(tmp_path, monkeypatch, capsys):
    """Return a function that runs the command in tmp_path: (status, output, errors)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["softseg", *arguments])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        return (exit_.value.code or 0, *capsys.readouterr())

    return run


def volumes(output: str) -> list[float]:
    """Return the volumes in ml of the masks that `data check --json` lists."""
    return [file["volume_ml"] for file in json.loads(output)["files"] if file["kind"] == "mask"]


TRUE_ML = [float(soft(seed).sum()) * 2e-3 for seed in range(SUBJECTS)]


@pytest.mark.parametrize(
    ("maximum", "dtype"), [(100, np.uint8), (255, np.uint8), (65535, np.uint16)]
)
def test_soft_masks_stored_as_integers_are_soft(softseg, tmp_path, maximum, dtype):
    make(tmp_path, lambda soft: np.rint(maximum * soft), dtype)
    status, _, errors = softseg("data", "check", "case.yaml")
    assert status == 2
    assert f"dataset.targets.cord.maximum: {maximum}" in errors
    key = f"dataset.targets.cord.maximum={maximum}"
    status, out, _ = softseg("data", "check", "case.yaml", "--json", "--set", key)
    assert status == 0
    assert volumes(out) == pytest.approx(TRUE_ML, rel=0.01)


def test_codes_of_a_soft_mask_are_rejected_by_every_command(softseg, tmp_path):
    make(tmp_path, lambda soft: np.rint(255 * soft), np.uint8)
    codes = ("--set", "dataset.targets.cord.values=[255]")
    for command in (("train",), ("data", "check"), ("data", "check", "--preprocess")):
        status, _, errors = softseg(*command, "case.yaml", *codes)
        assert status == 2
        assert "replace dataset.targets.cord.values by dataset.targets.cord.maximum: 255" in errors
    assert not (tmp_path / "runs/case/checkpoints").exists()


def test_overshoot_is_clipped_and_a_rater_on_another_scale_is_named(softseg, tmp_path):
    make(tmp_path, lambda soft: 1.24 * soft - 0.1)
    status, _, errors = softseg("data", "check", "case.yaml")
    assert (status, "targets.cord.clip: true" in errors) == (2, True)
    for seed in range(SUBJECTS):  # a second rater, who stores percent
        scaled = np.rint(100 * soft(seed))
        write(tmp_path / f"data/s{seed}_seg-b.nii.gz", scaled, np.uint8, AFFINE, 2)
        seg = tmp_path / f"data/s{seed}_seg.nii.gz"
        seg.rename(tmp_path / f"data/s{seed}_seg-a.nii.gz")
    changes = ("dataset.label='{subject}_seg-{rater}.nii.gz'", "dataset.targets.cord.clip=true")
    arguments = [part for change in changes for part in ("--set", change)]
    status, _, errors = softseg("train", "case.yaml", *arguments)
    assert status == 2
    assert errors.count("_seg-b.nii.gz: holds the values") == SUBJECTS
    assert "_seg-a.nii.gz" not in errors


def test_keys_of_codes_and_of_soft_masks_in_one_target_are_rejected(softseg, tmp_path):
    make(tmp_path)
    key = "dataset.targets.cord={values: [1], maximum: 255}"
    status, _, errors = softseg("train", "case.yaml", "--set", key)
    assert status == 2
    assert "dataset.targets.cord.maximum: is for soft masks, and values are codes" in errors


@pytest.mark.parametrize(("units", "per_mm"), [(3, 1000.0), (1, 0.001), (0, 1.0)])
def test_volumes_and_predictions_are_right_in_every_unit(softseg, tmp_path, units, per_mm):
    make(tmp_path, affine=np.diag([per_mm, per_mm, per_mm, 1]) @ AFFINE, units=units)
    status, out, _ = softseg("data", "check", "case.yaml", "--json")
    assert status == 0
    assert volumes(out) == pytest.approx(TRUE_ML, rel=1e-3)
    assert json.loads(out)["files"][0]["zooms_mm"] == [1, 1, 2]


@pytest.mark.parametrize("network", ["unet2d", "unet3d"])
def test_training_and_scores_are_the_same_in_every_unit_and_predictions_keep_theirs(
    softseg, tmp_path, monkeypatch, network
):
    steps = "preprocess=[{standardize: {region: all}}, {resample: {zooms: [2, 2, null]}}]"
    changes = ("--set", steps, "--set", "evaluate.metrics.surface_tolerance_mm=1")
    changes += ("--set", f"model.name={network}", "--set", "trainer.batch_size=2")
    tables = []
    for name, units, scale in (("mm", 2, 1.0), ("micron", 3, 1000.0)):
        folder = tmp_path / name
        make(folder, affine=np.diag([scale, scale, scale, 1]) @ AFFINE, units=units)
        monkeypatch.chdir(folder)
        assert softseg("train", "case.yaml", *changes)[0] == 0
        assert softseg("eval", "runs/case")[0] == 0
        tables.append(pd.read_csv("runs/case/metrics.csv"))
        [prediction] = folder.glob("runs/case/predictions/*_probseg.nii.gz")
        source = folder / "data" / prediction.name.replace("_label-cord_probseg", "")
        ours, theirs = nib.load(prediction).header, nib.load(source).header
        for field in ("xyzt_units", "pixdim", "srow_x", "srow_z", "qoffset_x", "sform_code"):
            assert ours[field].tobytes() == theirs[field].tobytes(), field
    assert {"hd95_mm", "volume_ml"} <= set(tables[0].columns)
    pd.testing.assert_frame_equal(*tables, rtol=1e-4)


@pytest.mark.parametrize("command", [("train",), ("data", "check")])
def test_an_absurd_unit_is_an_error_that_names_it(softseg, tmp_path, command):
    make(tmp_path, affine=AFFINE, units=1)  # numbers in mm, the unit meters
    status, _, errors = softseg(*command, "case.yaml")
    assert status == 2
    assert "s0_T2w.nii.gz: has voxels of 1e+03 x 1e+03 x 2e+03 mm" in errors
    assert "the unit in its header: meter" in errors
