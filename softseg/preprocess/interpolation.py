"""Reading a volume on another grid of the same orientation, exactly as the affines say.

Orienting, resampling and cropping only ever permute, flip, scale and shift the voxel axes, so
the map from one grid to the other is a signed, permuted diagonal: one small matrix of
interpolation weights an axis does the whole chain at once, in either direction, and touches
only the voxels that the box needs.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy import ndimage, sparse

from softseg.core.types import BoolArray, Float32Array, Float64Array, FloatArray
from softseg.data.nifti.grid import Grid

Order = Literal[1, 2, 3]  # of the spline: linear, quadratic, cubic
Reading = Order | Literal["mean"]
"""How values come to a grid: a spline read at the new voxels' centers, or the mean over each new
voxel where these are larger (linear where they are not)."""

# An interpolating spline's weights fall below float32's precision long before this many voxels
# (the 2nd-order pole is -0.17: 0.17 ** 12 = 6e-10).
_NEGLIGIBLE = 1e-9
_ALIGNED = 1e-4  # voxels: closer to whole indices than this is a copy, not an interpolation


def resample(
    volume: FloatArray, source: Grid, target: Grid, order: Reading, fill: float = 0.0
) -> Float32Array:
    """Read `volume`, which lies on `source`, on the voxels of `target`.

    Parameters
    ----------
    volume: (X, Y, Z) on `source`.
    target: a grid whose axes are a signed permutation of the source's (not checked for rotations
        smaller than 1e-3, which rounding of headers brings).
    order: spline order, 1 (linear) to 3; whole-voxel shifts copy, whatever the order. Or "mean".
    fill: the value outside the source's field of view (half a voxel beyond its last centers).

    Returns
    -------
    float32 array of the target's shape. Raises ValueError for a rotated target.
    """
    axes, steps, offsets = _axis_maps(source, target)
    out = np.asarray(volume, dtype=np.float32).transpose(axes)
    inside = []
    for axis in range(3):
        positions = offsets[axis] + steps[axis] * np.arange(target.shape[axis])
        within = _inside(positions, out.shape[axis])
        inside.append(within)
        out = _read_axis(out, axis, positions[within], order, float(abs(steps[axis])))
    return _place(out, target.shape, inside, fill)


def _axis_maps(source: Grid, target: Grid) -> tuple[tuple[int, ...], Any, Any]:
    """For each target axis: the source axis it runs along, its step and offset in source voxels."""
    matrix = np.linalg.solve(source.affine, target.affine)
    linear = matrix[:3, :3]
    axes = tuple(int(a) for a in np.abs(linear).argmax(axis=0))
    steps = linear[list(axes), range(3)]
    rest = np.abs(linear).sum(axis=0) - np.abs(steps)
    if sorted(axes) != [0, 1, 2] or (rest > 1e-3 * np.abs(steps)).any():
        raise ValueError("the grids are rotated against each other: no axis-wise map exists")
    return axes, steps, matrix[list(axes), 3]


def _inside(positions: FloatArray, size: int) -> BoolArray:
    return np.asarray((positions >= -0.5 - _ALIGNED) & (positions <= size - 0.5 + _ALIGNED))


def _read_axis(
    volume: Float32Array, axis: int, positions: FloatArray, order: Reading, step: float
) -> Float32Array:
    """Read one axis at the given (fractional) indices, which are a step apart."""
    whole, averaged = np.rint(positions), order == "mean" and step > 1 + _ALIGNED
    if not averaged and np.abs(positions - whole).max(initial=0.0) < _ALIGNED:
        index = np.clip(whole.astype(int), 0, volume.shape[axis] - 1)
        return np.asarray(np.take(volume, index, axis=axis))
    if averaged:
        weights = mean_weights(positions, volume.shape[axis], step)
    else:
        weights = interpolation_weights(
            positions, volume.shape[axis], 1 if order == "mean" else order
        )
    small = np.abs(weights) <= _NEGLIGIBLE
    dense = np.where(small, 0, weights).astype(np.float32)
    needed = np.flatnonzero(dense.any(axis=0))
    box = slice(needed[0], needed[-1] + 1)
    rows = np.moveaxis(volume, axis, 0)[box]
    # sparse, for most weights are 0; nor has it threads of its own, as a BLAS has
    read: Float32Array = sparse.csr_array(dense[:, box]) @ rows.reshape(len(rows), -1)
    return np.moveaxis(read.reshape(-1, *rows.shape[1:]), 0, axis)


def interpolation_weights(positions: FloatArray, size: int, order: Order) -> Float64Array:
    """The matrix (positions, size) that interpolates a row of `size` samples at `positions`.

    It is scipy's spline interpolation applied to the unit vectors: linear in the samples, mirrored
    at the ends, each row summing to 1.
    """
    where = np.clip(positions, 0, size - 1)
    pairs = np.meshgrid(where, np.arange(size), indexing="ij")
    grid = np.stack(pairs).astype(np.float64)
    read = ndimage.map_coordinates(np.eye(size), grid, order=order, mode="mirror")
    return np.asarray(read)


def mean_weights(positions: FloatArray, size: int, width: float) -> Float64Array:
    """The matrix (positions, size) that averages a row of `size` voxels over wider ones.

    Of each new voxel, `width` old ones wide, that part counts which lies within the row; each row
    of the matrix sums to 1. Of a mask that is its exact partial volume.
    """
    middle, old = np.asarray(positions)[:, None], np.arange(size)
    first, last = (np.clip(middle + s * width / 2, -0.5, size - 0.5) for s in (-1, 1))
    shared = np.minimum(last, old + 0.5) - np.maximum(first, old - 0.5)
    weights = np.clip(shared, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _place(
    read: Float32Array,
    shape: tuple[int, int, int],
    inside: list[BoolArray],
    fill: float,
) -> Float32Array:
    """Put what was read into a volume of `fill`."""
    if read.shape == shape:
        return np.ascontiguousarray(read, dtype=np.float32)
    out = np.full(shape, fill, dtype=np.float32)
    out[np.ix_(*inside)] = read
    return out
