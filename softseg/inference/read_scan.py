"""A scan's files read and checked against what the model was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from softseg.core.errors import UserError
from softseg.data import Subject
from softseg.data.nifti.file_error import FileError
from softseg.data.nifti.grid import Grid, canonical, regrid, same_place
from softseg.data.nifti.io import read_grid, read_volume
from softseg.data.sample import Sample, SubjectError, load_sample
from softseg.inference.model import Model
from softseg.inference.scans import Scan

ODD = 8.0
"""How many times smaller or larger than in training voxels may be: headers in cm, m or µm are
farther off."""


def read_scan(scan: Scan, model: Model) -> Sample:
    """The scan's images and its ROI on their grid.

    Raises UserError, in one message, for a contrast that is missing, for files that cannot be read
    or do not belong together, for a volume that none of them has, and for voxels of a size that no
    scan of the training came near.
    """
    if scan.missing is not None:
        raise UserError(scan.missing)
    if scan.frame and all(_holds_one(path) for path in scan.images.values()):
        first = next(iter(scan.images.values()))
        raise FileError(first, f"holds one frame; there is no frame {scan.frame}",
                        "leave out --frame")  # fmt: skip
    subject = Subject(scan.name, dict(scan.images), {}, None, {})
    try:
        dataset = model.experiment.dataset
        sample = load_sample(subject, dataset, labels=False, frame=scan.frame)
    except SubjectError as error:
        raise UserError("; ".join(error.problems)) from None
    check_size(next(iter(scan.images.values())), sample.grid, model.facts)
    return sample if scan.roi is None else replace(sample, roi=_roi(scan.roi, sample.grid))


def _holds_one(path: Path) -> bool:
    """Whether a file that can be read holds a single volume."""
    try:
        read_grid(path)
    except FileError:  # it holds several, or reading it tells what is wrong
        return False
    return True


def check_size(path: Path, grid: Grid, facts: Mapping[str, Any]) -> None:
    """Refuse voxels far from the sizes of the training; older models do not tell these."""
    known = facts.get("native_zooms_mm")
    if not known:
        return
    zooms, (least, most) = canonical(grid).zooms, np.array(known)
    if (zooms < least / ODD).any() or (zooms > most * ODD).any():
        size = " x ".join(f"{zoom:.3g}" for zoom in zooms)
        trained = " x ".join(f"{a:.3g}-{b:.3g}" for a, b in zip(least, most, strict=True))
        raise FileError(
            path,
            f"has voxels of {size} mm, the model was trained on {trained} mm",
            "mend the sizes in its header (are they in another unit?)",
        )


def _roi(path: Path, grid: Grid) -> np.ndarray[Any, np.dtype[np.float32]]:
    """An ROI mask on the scan's grid; it may have been drawn on another one."""
    mask = read_volume(path)
    data = np.clip(mask.data, 0, 1)
    return data if same_place(mask.grid, grid) else regrid(data, mask.grid, grid, mask=True)
