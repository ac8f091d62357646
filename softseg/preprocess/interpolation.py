"""Resample a volume to another grid of the same orientation, exactly as the affines say.

Orienting, resampling and cropping only ever permute, flip, scale and shift the voxel axes, so
the map from one grid to the other is a signed, permuted diagonal matrix. One small matrix of
interpolation weights for each axis therefore does the whole chain at once, in either direction,
and reads only the voxels that the target grid needs.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import ndimage, sparse

from softseg.core.types import Float32Array, Float64Array, FloatArray
from softseg.data.nifti.grid import Grid

Order = Literal[1, 2, 3]  # of the spline: linear, quadratic, cubic
Interpolation = Order | Literal["mean"]
"""A spline evaluated at the centers of the new voxels, or the mean over each new voxel along the
axes where it is larger than the old ones (linear interpolation along the others)."""

# An interpolating spline's weights fall below float32's precision long before this many voxels
# (the 2nd-order pole is -0.17: 0.17 ** 12 = 6e-10).
_NEGLIGIBLE = 1e-9
_ALIGNED = 1e-4  # voxels: closer to whole indices than this is a copy, not an interpolation


def resample(
    volume: FloatArray, source: Grid, target: Grid, order: Interpolation, fill: float = 0.0
) -> Float32Array:
    """Resample `volume`, which is on the grid `source`, to the grid `target`.

    Args:
        volume: (X, Y, Z) on `source`.
        source: its grid.
        target: a grid whose axes are a signed permutation of the source's. Rotations below 1e-3,
            which the rounding of headers brings, are accepted.
        order: spline order, 1 (linear) to 3, or "mean". A shift by whole voxels copies, whatever
            the order.
        fill: the value outside the source's field of view, which ends half a voxel beyond the
            centers of its outermost voxels.

    Returns a float32 array of the target's shape. Raises ValueError for a rotated target.
    """
    # for each target axis: the source axis along it, its step and its offset in source voxels
    matrix = np.linalg.solve(source.affine, target.affine)
    linear = matrix[:3, :3]
    axes = tuple(int(a) for a in np.abs(linear).argmax(axis=0))
    steps, offsets = linear[list(axes), range(3)], matrix[list(axes), 3]
    rest = np.abs(linear).sum(axis=0) - np.abs(steps)
    if sorted(axes) != [0, 1, 2] or (rest > 1e-3 * np.abs(steps)).any():
        raise ValueError("the grids are rotated against each other: no axis-wise map exists")
    resampled = np.asarray(volume, dtype=np.float32).transpose(axes)
    inside = []
    for axis in range(3):
        positions = offsets[axis] + steps[axis] * np.arange(target.shape[axis])
        last = resampled.shape[axis] - 0.5 + _ALIGNED
        within = (positions >= -0.5 - _ALIGNED) & (positions <= last)
        inside.append(within)
        step = float(abs(steps[axis]))
        resampled = _resample_axis(resampled, axis, positions[within], order, step)
    if resampled.shape == target.shape:
        return np.ascontiguousarray(resampled, dtype=np.float32)
    filled = np.full(target.shape, fill, dtype=np.float32)
    filled[np.ix_(*inside)] = resampled
    return filled


def _resample_axis(
    volume: Float32Array, axis: int, positions: FloatArray, order: Interpolation, step: float
) -> Float32Array:
    """Resample one axis at (fractional) indices that are `step` apart."""
    nearest, averages = np.rint(positions), order == "mean" and step > 1 + _ALIGNED
    if not averages and np.abs(positions - nearest).max(initial=0.0) < _ALIGNED:
        index = np.clip(nearest.astype(int), 0, volume.shape[axis] - 1)
        return np.asarray(np.take(volume, index, axis=axis))
    if averages:
        weights = mean_weights(positions, volume.shape[axis], step)
    else:
        spline: Order = 1 if order == "mean" else order
        weights = interpolation_weights(positions, volume.shape[axis], spline)
    small = np.abs(weights) <= _NEGLIGIBLE
    dense = np.where(small, 0, weights).astype(np.float32)
    needed = np.flatnonzero(dense.any(axis=0))
    box = slice(needed[0], needed[-1] + 1)
    rows = np.moveaxis(volume, axis, 0)[box]
    # sparse: most weights are 0, and unlike a BLAS it starts no threads of its own
    product: Float32Array = sparse.csr_array(dense[:, box]) @ rows.reshape(len(rows), -1)
    return np.moveaxis(product.reshape(-1, *rows.shape[1:]), 0, axis)


def interpolation_weights(positions: FloatArray, size: int, order: Order) -> Float64Array:
    """Return the matrix (positions, size) that interpolates `size` samples at `positions`.

    It is scipy's spline interpolation applied to the unit vectors: linear in the samples, mirrored
    at the ends, each row summing to 1.
    """
    clipped = np.clip(positions, 0, size - 1)
    pairs = np.meshgrid(clipped, np.arange(size), indexing="ij")
    grid = np.stack(pairs).astype(np.float64)
    weights = ndimage.map_coordinates(np.eye(size), grid, order=order, mode="mirror")
    return np.asarray(weights)


def mean_weights(positions: FloatArray, size: int, width: float) -> Float64Array:
    """Return the matrix (positions, size) that averages `size` voxels over wider ones.

    A new voxel is `width` old ones wide and centered at its position; only its part inside the
    old voxels counts. Each row sums to 1. Applied to a mask, it gives the exact partial volume.
    """
    middle, old = np.asarray(positions)[:, None], np.arange(size)
    first, last = (np.clip(middle + s * width / 2, -0.5, size - 0.5) for s in (-1, 1))
    shared = np.minimum(last, old + 0.5) - np.maximum(first, old - 0.5)
    weights = np.clip(shared, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
