"""Read a scan's files and check them against what the model was trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from softseg.core.errors import UserError
from softseg.data import Subject
from softseg.data.nifti.file_error import FileError
from softseg.data.nifti.grid import Grid, canonical, regrid, same_place
from softseg.data.nifti.io import read_grid, read_volume
from softseg.data.sample import Sample, SubjectError, load_sample
from softseg.inference.model import Model
from softseg.inference.scans import Scan

MAX_ZOOM_RATIO = 8.0
"""How many times smaller or larger than in training voxels may be. Headers in cm, m or µm, by
mistake, differ more."""


def read_scan(scan: Scan, model: Model) -> Sample:
    """Read the scan's images and its ROI mask, on the grid of the images.

    Raises UserError, in one message, for a missing contrast, for files that cannot be read or do
    not belong together, for a frame that none of them has, and for voxels of a size that no scan
    of the training came near.
    """
    if scan.missing is not None:
        raise UserError(scan.missing)
    if scan.frame and all(_has_one_frame(path) for path in scan.images.values()):
        raise FileError(
            scan.first_image,
            f"holds one frame; there is no frame {scan.frame}",
            "leave out --frame",
        )
    subject = Subject(scan.name, dict(scan.images), {}, None, {})
    try:
        sample = load_sample(subject, model.experiment.dataset, labels=False, frame=scan.frame)
    except SubjectError as error:
        raise UserError("; ".join(error.problems)) from None
    _check_voxel_size(scan.first_image, sample.grid, model)
    if scan.roi is None:
        return sample
    mask = read_volume(scan.roi)
    roi = np.clip(mask.data, 0, 1)
    if not same_place(mask.grid, sample.grid):
        roi = regrid(roi, mask.grid, sample.grid, mask=True)
    return replace(sample, roi=roi)


def _has_one_frame(path: Path) -> bool:
    """Whether a file can be read and holds a single volume."""
    try:
        read_grid(path)
    except FileError:  # it has several frames, or `load_sample` will report what is wrong
        return False
    return True


def _check_voxel_size(path: Path, grid: Grid, model: Model) -> None:
    """Raise FileError for voxels far from the training's sizes, which older models do not have."""
    trained_zooms = model.metadata.get("native_zooms_mm")
    if not trained_zooms:
        return
    zooms, (smallest, largest) = canonical(grid).zooms, np.array(trained_zooms)
    if (zooms < smallest / MAX_ZOOM_RATIO).any() or (zooms > largest * MAX_ZOOM_RATIO).any():
        size = " x ".join(f"{zoom:.3g}" for zoom in zooms)
        ranges = " x ".join(f"{a:.3g}-{b:.3g}" for a, b in zip(smallest, largest, strict=True))
        raise FileError(
            path,
            f"has voxels of {size} mm, the model was trained on {ranges} mm",
            "fix the sizes in its header (are they in another unit?)",
        )
