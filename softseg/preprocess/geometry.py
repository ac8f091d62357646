"""The recorded geometry of a volume's preprocessing and its exact inverse (contract 2).

All that is recorded is two grids: the native one and the network's. Since every step keeps the
world coordinates of what it keeps, the affines alone lead there and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from softseg.core.types import Float32Array, Float64Array, FloatArray
from softseg.data.nifti.grid import Grid, canonical
from softseg.preprocess.crop import Crop
from softseg.preprocess.interpolation import resample
from softseg.preprocess.resample import Resample
from softseg.preprocess.slices import Slices
from softseg.preprocess.standardize import Standardize

Step = Standardize | Resample | Crop


@dataclass(frozen=True)
class Geometry:
    """Where a volume came from and where it lies for the network."""

    native: Grid
    network: Grid

    def to_native(self, volume: FloatArray) -> Float32Array:
        """A soft segmentation (X, Y, Z) on the network's grid -> the native grid, in [0, 1].

        Linear interpolation; 0 where the crop did not look.
        """
        return np.clip(resample(volume, self.network, self.native, order=1), 0.0, 1.0)

    def native_axis(self, axis: int) -> int:
        """The native array's axis that runs along an axis of the network's volume."""
        across = np.linalg.solve(self.native.affine, self.network.affine)[:3, axis]
        return int(np.abs(across).argmax())


def needs_roi(steps: Sequence[Step], slices: Slices) -> bool:
    """Whether a chain looks at an ROI mask."""
    return "no_roi" in slices.exclude or any(
        (isinstance(step, Crop) and step.around == "roi")
        or (isinstance(step, Standardize) and step.region == "roi")
        for step in steps
    )


def plan(
    native: Grid, steps: Sequence[Step], slices: Slices, center: FloatArray | None
) -> Geometry:
    """The geometry of a chain on one scan; `center` is the ROI's in world mm, (3,), or None."""
    grid = canonical(native)
    for step in steps:
        if isinstance(step, Resample):
            grid = step(grid)
        elif isinstance(step, Crop):
            grid = step(grid, slices.in_plane, center)
    return Geometry(native, grid)


def center_of_mass(mask: FloatArray, grid: Grid) -> Float64Array | None:
    """World position (3,) in mm of the middle of a mask (X, Y, Z); None where it is empty."""
    voxels = np.argwhere(mask >= 0.5)
    if len(voxels) == 0:
        return None
    return np.asarray(grid.affine[:3, :3] @ voxels.mean(axis=0) + grid.affine[:3, 3])
