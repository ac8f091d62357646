"""The step that changes the voxel size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from softseg.core.component import Component
from softseg.data.nifti.grid import Grid
from softseg.preprocess.interpolation import Interpolation, Order

Zoom = Annotated[float, Field(gt=0)] | None
_SAME = 1e-3  # relative difference below which two zooms count as equal: headers round


class Resample(Component):
    """Resample every volume to the same voxel size (SoftSeg 2.3.2).

    The field of view keeps its center; its size is rounded to whole voxels.
    """

    name: Literal["resample"] = "resample"
    zooms: tuple[Zoom, Zoom, Zoom]
    """Voxel size in mm along right-left, posterior-anterior, inferior-superior; null keeps the
    axis as it is (the paper resamples in plane only)."""
    image_order: Order = 2
    """Spline order for images (the paper: 2)."""
    label_order: Interpolation = 1
    """Spline order for masks (the paper: 1, linear); orders above 1 overshoot and are clipped to
    [0, 1]. A spline is evaluated at voxel centers: at twice the voxel size it averages two voxels
    along an axis of even length and takes every other voxel along one of odd length. `mean`: along
    axes where voxels grow, the mean over each new voxel, which is its exact partial volume."""

    def __call__(self, grid: Grid) -> Grid:
        """Return the grid (canonical orientation) after this step."""
        old = grid.zooms
        asked = np.array([o if z is None else z for o, z in zip(old, self.zooms, strict=True)])
        new = np.where(np.abs(asked / old - 1) < _SAME, old, asked)
        size = np.array(grid.shape)
        shape = np.maximum(1, np.rint(size * old / new)).astype(int)
        step = new / old
        scaling = np.diag([*step, 1.0])
        scaling[:3, 3] = ((size - 1) - (shape - 1) * step) / 2
        return Grid((int(shape[0]), int(shape[1]), int(shape[2])), grid.affine @ scaling)


def label_interpolation(steps: Iterable[object]) -> Interpolation:
    """Return how a chain interpolates masks: linearly unless its `resample` step differs."""
    return next((step.label_order for step in steps if isinstance(step, Resample)), 1)
