"""Summaries of files, which stay in memory when the voxels do not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from nibabel.orientations import aff2axcodes

from softseg.core.types import Float32Array
from softseg.data.nifti.grid import Grid, corner_distance
from softseg.data.nifti.io import Volume
from softseg.data.sample import count_soft, digest_of
from softseg.metrics.overlap import volume_ml

Kind = Literal["image", "mask", "roi"]
_MAX_VALUES = 256
"""More values than any table of labels has; a soft mask has thousands."""


@dataclass(frozen=True)
class VolumeSummary:
    """One file's header and voxels, in numbers."""

    shape: tuple[int, int, int]
    zooms: tuple[float, float, float]
    """mm, rounded to three decimals."""
    orientation: str
    """The directions of the voxel axes, e.g. RAS."""
    dtype: str
    """Of the voxels on disk."""
    minimum: float
    maximum: float
    mean: float
    """This, `std` and `median` are of the voxels other than 0; NaN if there are none."""
    std: float
    median: float
    digest: str
    """Of shape and voxels, independent of the file's name, type and compression."""
    away_mm: float
    """Largest distance of a corner from that of the first contrast; NaN for another shape."""

    @property
    def is_constant(self) -> bool:
        """Whether all voxels are the same."""
        return self.minimum == self.maximum


@dataclass(frozen=True)
class MaskSummary:
    """The mask of one target, or the ROI (all that is above 0), in numbers."""

    values: tuple[float, ...]
    """Distinct voxels of the file, rising; at most 256 of them."""
    distinct: int
    """The number of all distinct voxels."""
    soft_share: float
    """Share of soft voxels (below 1) among those above 0, in [0, 1]; 0 for an empty mask."""
    volume_ml: float
    """Sum of the mask, whose values are in [0, 1]."""
    is_empty: bool


@dataclass(frozen=True)
class FileSummary:
    """One file in one role; a file with the codes of several targets has a role for each."""

    subject: str
    path: Path
    kind: Kind
    name: str
    """The contrast of an image, the target of a mask; empty for an ROI."""
    rater: str
    volume: VolumeSummary
    mask: MaskSummary | None
    """None for images, and for masks that were rejected."""


def summarize_volume(volume: Volume, reference: Grid, dtype: str) -> VolumeSummary:
    """Return a volume in numbers; `reference` is the grid of its subject's first contrast."""
    data, grid = volume.data, volume.grid
    filled = data[data != 0]
    mean = std = median = np.nan
    if filled.size:
        mean = float(filled.mean(dtype=np.float64))
        std = float(filled.std(dtype=np.float64))
        median = float(np.median(filled))
    x, y, z = (round(float(zoom), 3) for zoom in grid.zooms)
    return VolumeSummary(
        shape=grid.shape,
        zooms=(x, y, z),
        orientation="".join(str(code) for code in aff2axcodes(grid.affine)),
        dtype=dtype,
        minimum=float(data.min()),
        maximum=float(data.max()),
        mean=mean,
        std=std,
        median=median,
        digest=digest_of(data),
        away_mm=corner_distance(grid, reference) if grid.shape == reference.shape else np.nan,
    )


def summarize_mask(data: Float32Array, mask: Float32Array, voxel_ml: float) -> MaskSummary:
    """Return a file's voxels (X, Y, Z) and the mask in [0, 1] made of them, in numbers."""
    filled = data[data != 0]  # most voxels are 0 and need not be sorted
    values = np.unique(filled)
    if filled.size < data.size:
        values = np.sort(np.append(values, np.float32(0)))
    soft, positive = count_soft([mask])
    return MaskSummary(
        values=tuple(float(value) for value in values[:_MAX_VALUES]),
        distinct=len(values),
        soft_share=soft / positive if positive else 0.0,
        volume_ml=volume_ml(mask, voxel_ml),
        is_empty=not positive,
    )


def format_shape(shape: Iterable[int]) -> str:
    """Return a shape as `240 x 240 x 155`."""
    return " x ".join(str(length) for length in shape)


def format_zooms(zooms: Iterable[float]) -> str:
    """Return voxel sizes as `0.5 x 0.5 x 5 mm`."""
    return " x ".join(f"{zoom:.4g}" for zoom in zooms) + " mm"
