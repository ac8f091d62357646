"""The grid of a volume's voxels: its shape and the affine that places them in the scanner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel import orientations
from scipy import ndimage

from softseg.core.types import AnyArray, Float32Array, Float64Array, FloatArray
from softseg.metrics.postprocess import Voxels


@dataclass(frozen=True, eq=False)
class Grid:
    """A voxel grid: `shape` (X, Y, Z) and `affine` (4, 4), voxel index -> world mm (RAS+)."""

    shape: tuple[int, int, int]
    affine: Float64Array

    @property
    def zooms(self) -> Float64Array:
        """Voxel sizes in mm, (3,), from the affine (a header's pixdim may disagree with it)."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0), dtype=np.float64)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in milliliters."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def __str__(self) -> str:
        """`24 x 20 x 6 voxels of 1 x 1 x 2 mm`."""
        shape, zooms = (" x ".join(f"{n:.4g}" for n in each) for each in (self.shape, self.zooms))
        return f"{shape} voxels of {zooms} mm"


def corner_distance(one: Grid, other: Grid) -> float:
    """Return the largest distance in mm between equal corner voxels of two grids of one shape."""
    last = np.array(one.shape, dtype=float) - 1
    corners = np.array(np.meshgrid(*[(0.0, n) for n in last])).reshape(3, -1)
    homogeneous = np.vstack([corners, np.ones(corners.shape[1])])
    gap = (one.affine - other.affine) @ homogeneous
    return float(np.linalg.norm(gap[:3], axis=0).max())


def same_place(one: Grid, other: Grid) -> bool:
    """Return whether two grids of one shape coincide within a quarter of a voxel at each corner.

    Headers written by different tools differ by 1e-8 to 1e-3 mm, and rounding of oblique axes adds
    up along a large matrix (0.09 mm on a real 0.6 mm scan); real shifts are far larger.
    """
    tolerance = max(2e-3, 0.25 * float(one.zooms.min()))
    return one.shape == other.shape and corner_distance(one, other) <= tolerance


def may_overlap(one: Grid, other: Grid) -> bool:
    """Return whether a voxel of `one` may be within `other`: their boxes along its axes meet."""
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in one.shape])).reshape(3, -1)
    to_other = np.linalg.solve(other.affine, one.affine)
    indices = to_other[:3, :3] @ corners + to_other[:3, 3:]
    last = np.array(other.shape) - 0.5
    return bool(((indices.max(axis=1) > -0.5) & (indices.min(axis=1) < last)).all())


def regrid(data: FloatArray, source: Grid, target: Grid) -> Float32Array:
    """Interpolate `data` (X, Y, Z) on `source` linearly at the voxel centers of `target`.

    The outermost voxels are extended by one voxel, as rounding may move a center at the border just
    outside. Beyond that the value is 0, even if it is 0 nowhere in a mask that is cropped to a box;
    an image is passed relative to its `background_value`.
    """
    to_source = np.linalg.solve(source.affine, target.affine)
    to_source[:3, 3] += 1  # for the voxel of padding
    padded = np.pad(np.asarray(data, np.float32), 1, mode="edge")
    resampled = ndimage.affine_transform(padded, to_source, output_shape=target.shape, order=1)
    return np.asarray(resampled, dtype=np.float32)


def canonical(grid: Grid) -> Grid:
    """Return the grid of the same voxels with axes to the right, anterior and superior.

    Axes of an oblique scan are permuted and flipped only, not rotated.
    """
    to_ras = orientations.io_orientation(grid.affine)
    affine = grid.affine @ orientations.inv_ornt_aff(to_ras, grid.shape)
    first, second, third = (int(axis) for axis in to_ras[:, 0].argsort())
    return Grid((grid.shape[first], grid.shape[second], grid.shape[third]), affine)


def native_axis(grid: Grid, axis: int) -> int:
    """Return the axis of a grid's voxels that is the axis with this index in `canonical(grid)`."""
    to_ras = orientations.io_orientation(grid.affine)
    return int(np.flatnonzero(to_ras[:, 0] == axis)[0])


def voxels_of(grid: Grid, slice_axis: int) -> Voxels:
    """Return what metrics need to know of a grid that was sliced along this canonical axis."""
    return Voxels(grid.zooms.tolist(), grid.voxel_ml, native_axis(grid, slice_axis))


def canonical_voxels(voxels: AnyArray, grid: Grid) -> AnyArray:
    """The voxels (..., X, Y, Z) of `grid` in the order of `canonical(grid)`: a view."""
    space = (-3, -2, -1)
    space_first = np.moveaxis(voxels, space, (0, 1, 2))
    turned = orientations.apply_orientation(space_first, orientations.io_orientation(grid.affine))
    return np.moveaxis(turned, (0, 1, 2), space)


def upright(slices: AnyArray) -> Float32Array:
    """Canonical slices (..., H, W) as radiologists view them: (..., W, H), float32.

    H and W run to the patient's right (sagittal: front) and to the front (or top). In the result
    the patient's right is on the left, and the front (or top) is up.
    """
    return np.swapaxes(np.asarray(slices, np.float32), -2, -1)[..., ::-1, ::-1]
