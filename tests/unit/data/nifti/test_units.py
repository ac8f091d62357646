"""Sizes and positions are in mm, whatever unit of length a header is in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from softseg import data
from softseg.data.nifti.checks import FileError
from softseg.data.nifti.io import read_grid, read_volume, write_like
from softseg.data.sample import SubjectError, load_sample
from softseg.package.reference import affine_mm
from tests.support.makers import ball, nifti, oblique, scan

PER_MM = {"mm": 1, "meter": 1e-3, "micron": 1e3, "unknown": 1}


def in_unit(unit: str, millimeters: np.ndarray | None = None) -> np.ndarray:
    affine = (oblique() if millimeters is None else millimeters).copy()
    affine[:3] *= PER_MM[unit]
    return affine


@pytest.mark.parametrize("unit", PER_MM)
def test_a_grid_is_in_mm(tmp_path: Path, unit: str) -> None:
    path = nifti(tmp_path / "a.nii.gz", scan(), in_unit(unit), units=unit)
    for grid in (read_grid(path), read_volume(path).grid):
        np.testing.assert_allclose(grid.affine, oblique(), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(grid.voxel_ml, 0.75e-3, rtol=1e-5)
    np.testing.assert_allclose(affine_mm(nib.load(path)), oblique(), rtol=1e-5, atol=1e-5)
    assert read_volume(path).unit == unit


@pytest.mark.parametrize("unit", ["meter", "micron"])
@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 2), (0, 0)])
def test_what_is_written_keeps_the_unit_of_its_source(
    tmp_path: Path, unit: str, codes: tuple[int, int]
) -> None:
    source = nifti(tmp_path / "a.nii.gz", scan(), in_unit(unit), units=unit, codes=codes)
    write_like(tmp_path / "b.nii.gz", ball(), source, np.float32)
    ours, theirs = nib.load(tmp_path / "b.nii.gz").header, nib.load(source).header
    for field in ("xyzt_units", "pixdim", "qform_code", "sform_code", "srow_x", "qoffset_x"):
        assert ours[field].tobytes() == theirs[field].tobytes(), field


@pytest.mark.parametrize(
    ("unit", "size", "accepted"),
    [
        ("unknown", 0.001, False),  # 1 mm in meters
        ("mm", 0.001, False),
        ("unknown", 1000.0, False),  # 1 mm in micrometers
        ("meter", 1.0, False),  # 1 mm by a program that writes the wrong unit
        ("micron", 1.0, True),
        ("micron", 0.0024, True),  # an electron microscope
        ("micron", 1e-4, False),
        ("mm", 0.004, True),  # micro-CT
        ("mm", 99.0, True),
    ],
)
def test_absurd_voxels_are_rejected_with_their_unit(
    tmp_path: Path, unit: str, size: float, accepted: bool
) -> None:
    path = nifti(tmp_path / "a.nii.gz", scan(), np.diag([size, size, size, 1]), units=unit)
    if accepted:
        assert read_grid(path).zooms.max() == pytest.approx(size / PER_MM[unit], rel=1e-5)
        return
    with pytest.raises(FileError, match=rf"the unit in its header: {unit}\).*xyzt_units") as caught:
        read_volume(path)
    assert caught.value.path == path


def sample(folder: Path, **changes: Any) -> Any:
    spec = {
        "loader": "files",
        "root": str(folder),
        "contrasts": ["T1w"],
        "image": "{subject}_{contrast}.nii.gz",
        "label": "{subject}_seg.nii.gz",
        "targets": {"gm": {}},
    }
    dataset = data.build({**spec, **changes})
    return load_sample(dataset()[0], dataset)


@pytest.mark.parametrize("on_grid_mismatch", ["error", "resample"])
def test_a_mask_in_another_unit_is_in_the_same_place(tmp_path: Path, on_grid_mismatch: str) -> None:
    nifti(tmp_path / "s_T1w.nii.gz", scan(), oblique())
    nifti(tmp_path / "s_seg.nii.gz", ball(), in_unit("micron"), units="micron")
    read = sample(tmp_path, on_grid_mismatch=on_grid_mismatch)
    np.testing.assert_array_equal(read.target[0], ball())


@pytest.mark.parametrize("on_grid_mismatch", ["error", "resample"])
def test_a_mask_elsewhere_in_another_unit_names_both_units(
    tmp_path: Path, on_grid_mismatch: str
) -> None:
    nifti(tmp_path / "s_T1w.nii.gz", scan(), oblique())
    nifti(tmp_path / "s_seg.nii.gz", ball(), oblique(), units="micron")
    with pytest.raises(SubjectError, match="header is micron, that of the other mm: correct"):
        sample(tmp_path, on_grid_mismatch=on_grid_mismatch)
