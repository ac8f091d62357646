"""The recorded geometry of a volume's preprocessing and its exact inverse.

The record is two grids: the native one and the network's. Every step keeps the world coordinates
of the voxels that it keeps, so the two affines alone lead there and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from softseg.core.types import Float32Array, Float64Array, FloatArray
from softseg.data.nifti.grid import Grid, canonical, native_axis
from softseg.preprocess.interpolation import resample
from softseg.preprocess.samples import Samples
from softseg.preprocess.steps import Crop, Resample, Step


@dataclass(frozen=True)
class Geometry:
    """The native grid of a volume and its grid for the network."""

    native: Grid
    network: Grid

    def to_native(self, volume: FloatArray) -> Float32Array:
        """Resample a soft segmentation (X, Y, Z) from the network's grid to the native one.

        Linear interpolation, in [0, 1]; 0 outside the crop.
        """
        return np.clip(resample(volume, self.network, self.native, order=1), 0.0, 1.0)

    def native_axis(self, axis: int) -> int:
        """Return the axis of the native array along an axis of the network's volume."""
        return native_axis(self.native, axis)


def plan_geometry(
    native: Grid, steps: Sequence[Step], samples: Samples, center: FloatArray | None
) -> Geometry:
    """Return the geometry of a chain on one scan; `center` is the ROI's in world mm, (3,)."""
    grid = canonical(native)
    for step in steps:
        if isinstance(step, Resample):
            grid = step(grid)
        elif isinstance(step, Crop):
            grid = step(grid, samples.crop_plane, center)
    return Geometry(native, grid)


def center_of_mass(mask: FloatArray, grid: Grid) -> Float64Array | None:
    """Return the center of a mask (X, Y, Z) in world mm, (3,); None for an empty mask."""
    voxels = np.argwhere(mask >= 0.5)
    if len(voxels) == 0:
        return None
    return np.asarray(grid.affine[:3, :3] @ voxels.mean(axis=0) + grid.affine[:3, 3])
