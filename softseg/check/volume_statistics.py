"""What is kept of a file once its voxels are let go."""

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
from softseg.metrics.volume import volume_ml

Kind = Literal["image", "mask", "roi"]
_VALUES_KEPT = 256
"""More than any table of labels has; a soft mask has thousands of values."""


@dataclass(frozen=True)
class Content:
    """One file's header and voxels, in numbers."""

    shape: tuple[int, int, int]
    zooms: tuple[float, float, float]
    """mm, three digits after the point."""
    orientation: str
    """Where the voxel axes run to, e.g. RAS."""
    dtype: str
    """Of the voxels on disk."""
    minimum: float
    maximum: float
    mean: float
    """This, `std` and `median` are of the voxels other than 0; NaN where there is none."""
    std: float
    median: float
    digest: str
    """The same for the same shape and voxels, whatever the file's name, type or compression."""
    away_mm: float
    """Largest distance from the voxels' place on the first contrast; NaN for another shape."""

    @property
    def is_constant(self) -> bool:
        """Whether all voxels are the same."""
        return self.minimum == self.maximum


@dataclass(frozen=True)
class MaskFacts:
    """What a mask says of one target (an ROI: whatever is above 0)."""

    values: tuple[float, ...]
    """Distinct voxels of the file, rising; at most 256 of them."""
    distinct: int
    """How many there are."""
    soft_share: float
    """Of the voxels above 0, those below 1: in [0, 1], 0 for an empty mask."""
    volume_ml: float
    """Sum of the mask, whose values are in [0, 1]."""
    is_empty: bool


@dataclass(frozen=True)
class FileFacts:
    """One file in one role; a file with the codes of several targets has a role for each."""

    subject: str
    path: Path
    kind: Kind
    name: str
    """The contrast of an image, the target of a mask; empty for an ROI."""
    rater: str
    content: Content
    mask: MaskFacts | None
    """None for images, and for masks that were refused."""


def content_of(volume: Volume, reference: Grid, dtype: str) -> Content:
    """A volume in numbers; `reference` is the grid of its subject's first contrast."""
    data, grid = volume.data, volume.grid
    there = data[data != 0]
    mean, std, median = (
        (
            float(there.mean(dtype=np.float64)),
            float(there.std(dtype=np.float64)),
            float(np.median(there)),
        )
        if there.size
        else (np.nan, np.nan, np.nan)
    )
    x, y, z = (round(float(zoom), 3) for zoom in grid.zooms)
    return Content(
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


def mask_facts(data: Float32Array, mask: Float32Array, voxel_ml: float) -> MaskFacts:
    """A file's voxels (X, Y, Z) and the mask in [0, 1] that they mean, in numbers."""
    values = _distinct(data)
    soft, positive = count_soft([mask])
    return MaskFacts(
        values=tuple(float(value) for value in values[:_VALUES_KEPT]),
        distinct=len(values),
        soft_share=soft / positive if positive else 0.0,
        volume_ml=volume_ml(mask, voxel_ml),
        is_empty=not positive,
    )


def by_text(shape: Iterable[int]) -> str:
    """A shape as `240 x 240 x 155`."""
    return " x ".join(str(length) for length in shape)


def in_mm(zooms: Iterable[float]) -> str:
    """Voxel sizes as `0.5 x 0.5 x 5 mm`."""
    return " x ".join(f"{zoom:.4g}" for zoom in zooms) + " mm"


def _distinct(data: Float32Array) -> Float32Array:
    """The values, rising; background, of which there is most, is not sorted."""
    there = data[data != 0]
    values = np.unique(there)
    return values if there.size == data.size else np.sort(np.append(values, np.float32(0)))
