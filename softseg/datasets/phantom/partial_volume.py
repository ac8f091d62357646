"""Partial volume: what share of each voxel a shape fills, by supersampling it.

A voxel is sampled at 8 x 8 points in plane times 4 through the slice, but only where the
shape's edge comes near it; the others are empty or full.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from softseg.core.types import FloatArray

Depth = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]
"""A shape: (x, y, z) in mm -> signed depth in mm, positive inside."""

IN_PLANE = 8
THROUGH = 4
CHUNK = 64
"""Voxels supersampled at a time, so that their points fit the processor's cache."""

BOX = 13.0
"""Half the size in mm of the box about the image's center that holds the whole dural sac."""


@dataclass(frozen=True, eq=False)
class Coverage:
    """How a shape covers a volume; both arrays (X, Y, Z)."""

    fraction: FloatArray
    """share of the voxel inside the shape, [0, 1]"""
    level: FloatArray
    """median depth in mm over the voxel's points: >= 0 where the fraction is >= 0.5"""


def centers(count: int, zoom: float) -> FloatArray:
    """Coordinates in mm of the `count` voxel centers of an axis, about its middle."""
    return (np.arange(count) - (count - 1) / 2) * zoom


def offsets(count: int, zoom: float) -> FloatArray:
    """The midpoints of `count` equal parts of a voxel, in mm from its center."""
    return centers(count, zoom / count)


def points_depth(
    depth: Depth,
    x: FloatArray,
    y: FloatArray,
    z: float,
    zooms: tuple[float, float, float],
    parts: tuple[int, int],
) -> FloatArray:
    """Depth at the sample points of the voxels centered at `x`, `y` (N,): (points, N).

    Heights come first and voxels last, so that numpy's inner loops are long.
    """
    in_plane, through = parts
    step_x, step_y = np.meshgrid(offsets(in_plane, zooms[0]), offsets(in_plane, zooms[1]))
    points_x = (step_x.reshape(-1, 1) + x)[None]
    points_y = (step_y.reshape(-1, 1) + y)[None]
    points_z = (z + offsets(through, zooms[2])).reshape(-1, 1, 1)
    return depth(points_x, points_y, points_z).reshape(-1, len(x))


def _cover_slice(
    depth: Depth, x: FloatArray, y: FloatArray, z: float, zooms: tuple[float, float, float]
) -> tuple[FloatArray, FloatArray]:
    """Fraction and level of the voxels (N,) of one slice."""
    coarse = points_depth(depth, x, y, z, zooms, (1, THROUGH))
    fraction, level = (coarse > 0).mean(axis=0), np.median(coarse, axis=0)
    # Half as far again as a voxel's corner: depth is exact to first order only.
    near = np.abs(coarse).min(axis=0) <= 0.75 * np.hypot(zooms[0], zooms[1])
    [edge] = (near | (fraction > 0) & (fraction < 1)).nonzero()
    for part in np.split(edge, range(CHUNK, len(edge), CHUNK)):
        fine = points_depth(depth, x[part], y[part], z, zooms, (IN_PLANE, THROUGH))
        fraction[part], level[part] = (fine > 0).mean(axis=0), np.median(fine, axis=0)
    return fraction, level


def cover(depth: Depth, shape: tuple[int, int, int], zooms: tuple[float, float, float]) -> Coverage:
    """Fraction and level of every voxel; outside the box fraction 0 and level -BOX."""
    xs, ys, zs = (centers(n, zoom) for n, zoom in zip(shape, zooms, strict=True))
    box = np.ix_(np.abs(xs) <= BOX, np.abs(ys) <= BOX)
    grid_x, grid_y = np.meshgrid(xs, ys, indexing="ij")
    x, y = grid_x[box], grid_y[box]
    fraction, level = np.zeros(shape), np.full(shape, -BOX)
    for k, z in enumerate(zs):
        part = _cover_slice(depth, x.ravel(), y.ravel(), float(z), zooms)
        fraction[..., k][box], level[..., k][box] = (values.reshape(x.shape) for values in part)
    return Coverage(fraction, level)
