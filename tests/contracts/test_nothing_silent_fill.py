"""Outside of a scan is its own background: a constant added to every voxel changes nothing."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from softseg import api
from tests.support import makers

SHIFT = 1024
STANDARDIZE = "standardize: {over: volume}"
CROP = "crop: {size: [16, 14], around: image}"
AFFINE = "affine: {rotation: 30, translation: 0.2}"


def ct(seed, shape, contrast=0):
    """A scan in Hounsfield units with air around it, and its mask."""
    mask = makers.ball(shape, soft=False)
    noise = np.random.default_rng([seed, contrast]).normal(0, 5, shape)
    scan = np.rint(40 + (60 - 90 * contrast) * mask + noise)
    row, column = np.indices(shape)[:2]
    away = np.hypot(row - shape[0] / 2 + 0.5, column - shape[1] / 2 + 0.5)
    scan[away > min(shape[:2]) / 2 - 1] = -1024
    return scan, mask


CONFIG = """\
name: {name}
dataset:
  loader: files
  root: {name}
  image: '{{subject}}_{{contrast}}.nii.gz'
  label: '{{subject}}_seg.nii.gz'
  contrasts: [{contrasts}]
  targets: {{organ: {{}}}}
  {dataset}
split: {{test: [s3], validation: [s2]}}
preprocess: [{preprocess}]
augment: [{augment}]
{patches}
model: {{name: unet{axes}d, depth: 1, filters: 4, dropout: 0, head: {{name: sigmoid}}}}
loss: {{name: dml1}}
trainer: {{batch_size: 4, max_epochs: 2, learning_rate: 0.01, threads: 1, device: cpu}}
"""


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Train twins on scans and on the same scans plus a constant; return their histories."""
    monkeypatch.chdir(tmp_path)

    def train(
        preprocess=(STANDARDIZE, CROP),
        augment=(AFFINE,),
        contrasts=("CT",),
        shape=(12, 10, 3),
        affine=None,
        other_affine=None,
        dataset="",
        shift=SHIFT,
        axes=2,
    ):
        histories = []
        for name, offset in (("raw", 0), ("shifted", shift)):
            for subject in range(4):
                for k, contrast in enumerate(contrasts):
                    scan, mask = ct(subject, shape, k)
                    place = other_affine if k and other_affine is not None else affine
                    path = tmp_path / name / f"s{subject}_{contrast}.nii.gz"
                    makers.nifti(path, scan + offset, place, dtype=np.int16)
                makers.nifti(tmp_path / name / f"s{subject}_seg.nii.gz", mask, affine)
            text = CONFIG.format(
                name=name,
                axes=axes,
                patches="" if axes == 2 else "patches: {size: [20, 18, 4]}",  # larger than the scan
                contrasts=", ".join(contrasts),
                dataset=dataset,
                preprocess=", ".join(f"{{{step}}}" for step in preprocess),
                augment=", ".join(f"{{{step}}}" for step in augment),
            )
            (tmp_path / f"{name}.yaml").write_text(text)
            run = api.train(f"{name}.yaml", overwrite=True, quiet=True)
            history = pd.read_csv(run / "history.csv")
            histories.append(history[["train_loss", "val_loss", "val_dice", "largest_logit"]])
        return histories

    return train


RESAMPLE = "resample: {zooms: [0.8, 0.7, null]}"
LARGE = "crop: {size: [24, 22], around: image}"
ELASTIC = "RandomElasticDeformation: {max_displacement: [3, 3, 0], num_control_points: 5}"
ORIGIN = np.zeros((4, 4))
ORIGIN[:3, 3] = 14, -22, -7
TWINS = {
    "padded and rotated": {},
    "resampled, then larger than the scan": {"preprocess": (STANDARDIZE, RESAMPLE, LARGE)},
    "every slice on its own": {"preprocess": (CROP, "standardize: {over: slice}")},
    "TorchIO": {"augment": ("RandomAffine: {degrees: 40, translation: 4}", ELASTIC)},
    "padded, rotated, in 3D": {"axes": 3},
    "resampled in 3D, then larger than the scan": {
        "preprocess": (STANDARDIZE, RESAMPLE, LARGE),
        "axes": 3,
    },
    "two contrasts in 3D": {"contrasts": ("CT", "PET"), "axes": 3},
    "two contrasts": {"contrasts": ("CT", "PET")},
    "two contrasts on two grids": {
        "contrasts": ("CT", "PET"),
        "other_affine": makers.oblique((0.9, 0.8, 1.1)) + ORIGIN,
        "dataset": "on_grid_mismatch: resample",
    },
}


@pytest.mark.parametrize("twins", TWINS)
def test_a_constant_added_to_all_scans_changes_no_number(trained, twins):
    raw, shifted = trained(**TWINS[twins])
    np.testing.assert_allclose(raw, shifted, atol=1e-4)
    # predict pads a scan that is smaller than the crop, too
    for name in ("raw", "shifted"):
        images = [path for path in sorted(Path(name).glob("s3_*")) if "seg" not in path.name]
        inputs = [f"{path.name[3:-7]}={path}" for path in images]
        api.predict(f"runs/{name}", inputs, f"out-{name}", quiet=True)
    [first] = Path("out-raw").rglob("*probseg.nii.gz")
    [second] = Path("out-shifted").rglob("*probseg.nii.gz")
    soft = nib.load(first).get_fdata()
    np.testing.assert_allclose(soft, nib.load(second).get_fdata(), atol=1e-4)
    assert np.ptp(soft) > 1e-5  # it depends on the scan


def test_a_number_is_the_fill_and_raw_0_is_still_possible(trained):
    raw, shifted = trained(dataset="fill: 0")
    assert not np.allclose(raw, shifted, atol=1e-4)
    air, _ = trained(dataset="fill: {CT: -1024}")
    assert not np.allclose(raw, air, atol=1e-4)  # the cache keeps them apart
    default, _ = trained()
    np.testing.assert_allclose(air, default, atol=1e-4)
