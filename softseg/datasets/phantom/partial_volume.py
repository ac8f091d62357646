"""Partial volume: what fraction of each voxel a shape fills, by supersampling near its edge.

`cover_slices` is for thick slices about the spinal cord, `cover_box` for nearly cubic voxels of a
box; both are exact to about a hundredth. `approximate_fractions` is for whole heads: smooth edges
from few points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from softseg.core.types import FloatArray

Depth = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]
"""A shape: (x, y, z) in mm -> signed depth in mm, positive inside."""

IN_PLANE, THROUGH = 8, 4
"""A voxel of a thick slice is sampled at 8 x 8 points in plane times 4 through the slice."""

PARTS = 6
"""A nearly cubic voxel is sampled at 6 x 6 x 6 points."""

NEAR = 0.75
"""A voxel is near an edge within so many of its diagonals: half as far again as its corners,
because depth is exact to first order only."""

CHUNK_SLICES, CHUNK_BOX = 64, 256
"""Voxels supersampled at a time, so that their points fit the processor's cache."""

HALF_BOX = 13.0
"""Half the size in mm of the box about the image's center that contains the whole dural sac."""


@dataclass(frozen=True, eq=False)
class Coverage:
    """How a shape covers a volume; both arrays (X, Y, Z)."""

    fraction: FloatArray
    """fraction of the voxel inside the shape, [0, 1]"""
    level: FloatArray
    """median depth in mm over the voxel's points: >= 0 where the fraction is >= 0.5"""


@dataclass(frozen=True)
class VoxelBox:
    """A box of voxels in a scan centered at the origin."""

    shape: tuple[int, int, int]
    """of the scan, voxels"""
    zooms: tuple[float, float, float]
    """mm"""
    first: tuple[int, int, int] = (0, 0, 0)
    last: tuple[int, int, int] | None = None
    """the first voxel beyond the box; None: the end of the scan"""

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The index of the box in an array of the whole scan."""
        i, j, k = map(slice, self.first, self.last or self.shape)
        return i, j, k

    @property
    def points(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """x (X, 1, 1), y (1, Y, 1) and z (1, 1, Z) of the box's voxel centers, mm."""
        lines = map(centers, self.shape, self.zooms)
        x, y, z = np.ix_(*(line[part] for line, part in zip(lines, self.slices, strict=True)))
        return x, y, z

    def around(self, center: Sequence[float], reach: float) -> VoxelBox:
        """Return the box within `reach` mm of a point along each axis; it is never empty."""
        voxels = np.asarray(center) / self.zooms + (np.array(self.shape) - 1) / 2
        away = reach / np.array(self.zooms)
        highest = np.array(self.shape) - 1
        i, j, k = np.clip(np.floor(voxels - away), 0, highest).astype(int).tolist()
        u, v, w = (np.clip(np.ceil(voxels + away), 0, highest).astype(int) + 1).tolist()
        return VoxelBox(self.shape, self.zooms, (i, j, k), (u, v, w))


def centers(count: int, zoom: float) -> FloatArray:
    """Return the coordinates in mm of the `count` voxel centers of an axis, about its middle."""
    return (np.arange(count) - (count - 1) / 2) * zoom


def offsets(count: int, zoom: float) -> FloatArray:
    """Return the midpoints of `count` equal parts of a voxel, in mm from its center."""
    return centers(count, zoom / count)


def cover_slices(
    depth: Depth, shape: tuple[int, int, int], zooms: tuple[float, float, float]
) -> Coverage:
    """Return how a shape covers thick slices; outside HALF_BOX fraction 0 and level -HALF_BOX."""
    xs, ys, zs = (centers(n, zoom) for n, zoom in zip(shape, zooms, strict=True))
    box = np.ix_(np.abs(xs) <= HALF_BOX, np.abs(ys) <= HALF_BOX)
    grid_x, grid_y = np.meshgrid(xs, ys, indexing="ij")
    x, y = grid_x[box].ravel(), grid_y[box].ravel()
    fractions, levels = np.zeros(shape), np.full(shape, -HALF_BOX)
    for k, z in enumerate(zs.tolist()):
        coarse = _sampled_depth(depth, x, y, z, zooms, 1)
        fraction, level = (coarse > 0).mean(axis=0), np.median(coarse, axis=0)
        near = np.abs(coarse).min(axis=0) <= NEAR * np.hypot(zooms[0], zooms[1])
        [edge] = (near | (fraction > 0) & (fraction < 1)).nonzero()
        for part in np.split(edge, range(CHUNK_SLICES, len(edge), CHUNK_SLICES)):
            fine = _sampled_depth(depth, x[part], y[part], z, zooms, IN_PLANE)
            fraction[part], level[part] = (fine > 0).mean(axis=0), np.median(fine, axis=0)
        fractions[..., k][box] = fraction.reshape(grid_x[box].shape)
        levels[..., k][box] = level.reshape(grid_x[box].shape)
    return Coverage(fractions, levels)


def _sampled_depth(
    depth: Depth,
    x: FloatArray,
    y: FloatArray,
    z: float,
    zooms: tuple[float, float, float],
    in_plane: int,
) -> FloatArray:
    """Return the depth at sample points of the voxels centered at `x`, `y` (N,): (points, N).

    Heights come first and voxels last, so that numpy's inner loops are long.
    """
    step_x, step_y = np.meshgrid(offsets(in_plane, zooms[0]), offsets(in_plane, zooms[1]))
    points_x = (step_x.reshape(-1, 1) + x)[None]
    points_y = (step_y.reshape(-1, 1) + y)[None]
    points_z = (z + offsets(THROUGH, zooms[2])).reshape(-1, 1, 1)
    return depth(points_x, points_y, points_z).reshape(-1, len(x))


def cover_box(depth: Depth, box: VoxelBox) -> Coverage:
    """Return how a shape covers the voxels of a box (X, Y, Z), to a two-hundredth at its edge."""
    x, y, z = np.broadcast_arrays(*box.points)
    level = depth(x, y, z)
    fraction = (level > 0).astype(float)
    edge = np.argwhere(np.abs(level) <= NEAR * float(np.linalg.norm(box.zooms)))
    inner = _inner_points(PARTS, box.zooms).T[..., None]
    for part in np.split(edge, range(CHUNK_BOX, len(edge), CHUNK_BOX)):
        at = tuple(part.T)
        fine = depth(x[at] + inner[0], y[at] + inner[1], z[at] + inner[2])
        fraction[at], level[at] = (fine > 0).mean(axis=0), np.median(fine, axis=0)
    return Coverage(fraction, level)


def approximate_fractions(depth: Depth, box: VoxelBox) -> FloatArray:
    """Return about the fraction of each voxel inside a shape: near an edge from 2 x 2 x 2 points.

    Each point stands for an edge that is flat over half a voxel. (X, Y, Z), or (N, X, Y, Z) for N
    shapes with stacked depths.
    """
    level = depth(*box.points)
    fractions = (level > 0).astype(float)
    near = np.abs(level) <= NEAR * float(np.linalg.norm(box.zooms))
    at = np.nonzero(np.any(near.reshape(-1, *near.shape[-3:]), axis=0))
    x, y, z = (points[at] for points in np.broadcast_arrays(*box.points))
    width = float(np.mean(box.zooms)) / 2
    steps = _inner_points(2, box.zooms)
    depths = (depth(x + dx, y + dy, z + dz) for dx, dy, dz in steps)
    index: tuple[Any, ...] = (..., *at)
    fractions[index] = sum(np.clip(d / width + 0.5, 0, 1) for d in depths) / len(steps)
    return fractions


def _inner_points(parts: int, zooms: tuple[float, float, float]) -> FloatArray:
    """Return the centers of a voxel's parts x parts x parts pieces, mm from its own: (P, 3)."""
    return np.stack(np.meshgrid(*(offsets(parts, zoom) for zoom in zooms))).reshape(3, -1).T
