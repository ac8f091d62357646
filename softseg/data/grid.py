"""Where the voxels of a volume lie: its shape and the affine that places them in the scanner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Grid:
    """A voxel grid: `shape` (X, Y, Z) and `affine` (4, 4), voxel index -> world mm (RAS+)."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def zooms(self) -> NDArray[np.float64]:
        """Voxel sizes in mm, (3,), from the affine (a header's pixdim may disagree with it)."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0), dtype=np.float64)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0


def corner_distance(one: Grid, other: Grid) -> float:
    """The largest distance in mm between the same corner voxel of two grids of one shape."""
    last = np.array(one.shape, dtype=float) - 1
    corners = np.array(np.meshgrid(*[(0.0, n) for n in last])).reshape(3, -1)
    homogeneous = np.vstack([corners, np.ones(corners.shape[1])])
    gap = (one.affine - other.affine) @ homogeneous
    return float(np.linalg.norm(gap[:3], axis=0).max())


def same_place(one: Grid, other: Grid) -> bool:
    """Whether two grids of one shape coincide: no corner a quarter of a voxel apart, or more.

    Headers written by different tools differ by 1e-8 to 1e-3 mm, and rounding of oblique axes adds
    up along a large matrix (0.09 mm on a real 0.6 mm scan); real shifts are far larger.
    """
    tolerance = max(2e-3, 0.25 * float(one.zooms.min()))
    return one.shape == other.shape and corner_distance(one, other) <= tolerance
