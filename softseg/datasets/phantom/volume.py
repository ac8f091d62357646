"""Partial volume in three dimensions: shares of the voxels of a box, for voxels about cubic.

`share` is for whole heads: smooth edges from few points. `cover_box` is for what is to be known
exactly: it supersamples the voxels about the edge, as `sampling.cover` does for thick slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from softseg.core.types import FloatArray
from softseg.datasets.phantom.partial_volume import Coverage, Depth, centers, offsets

PARTS = 6
"""An edge's voxel is sampled at 6 x 6 x 6 points."""

NEAR = 0.75
"""A voxel is near an edge if that is within so many of its diagonals: half as far again as its
corners, for depth is exact to first order only."""

CHUNK = 256
"""Voxels supersampled at a time."""


@dataclass(frozen=True)
class Box:
    """Voxels of a scan whose middle is the origin: their number, size, and which of them."""

    shape: tuple[int, int, int]
    zooms: tuple[float, float, float]
    """mm"""
    first: tuple[int, int, int] = (0, 0, 0)
    last: tuple[int, int, int] | None = None
    """The first voxel that is not in the box; None: the scan's end."""

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Where the box lies in an array of the whole scan."""
        i, j, k = map(slice, self.first, self.last or self.shape)
        return i, j, k

    @property
    def points(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """x (X, 1, 1), y (1, Y, 1) and z (1, 1, Z) of the box's voxel centers, mm."""
        lines = map(centers, self.shape, self.zooms)
        x, y, z = np.ix_(*(line[part] for line, part in zip(lines, self.slices, strict=True)))
        return x, y, z

    def around(self, center: Sequence[float], reach: float) -> Box:
        """The voxels within `reach` mm of a point along each axis; some of them always."""
        voxels = np.asarray(center) / self.zooms + (np.array(self.shape) - 1) / 2
        away = reach / np.array(self.zooms)
        highest = np.array(self.shape) - 1
        i, j, k = np.clip(np.floor(voxels - away), 0, highest).astype(int).tolist()
        u, v, w = (np.clip(np.ceil(voxels + away), 0, highest).astype(int) + 1).tolist()
        return Box(self.shape, self.zooms, (i, j, k), (u, v, w))


def share(depth: Depth, box: Box) -> FloatArray:
    """The share of each voxel inside a shape, about: near an edge the mean of 2 x 2 x 2 points.

    Each point stands for an edge that is flat over half a voxel. (X, Y, Z), or (N, X, Y, Z) of N
    shapes whose depths come stacked.
    """
    level = depth(*box.points)
    shares = (level > 0).astype(float)
    near = np.abs(level) <= NEAR * float(np.linalg.norm(box.zooms))
    at = np.nonzero(np.any(near.reshape(-1, *near.shape[-3:]), axis=0))
    x, y, z = (points[at] for points in np.broadcast_arrays(*box.points))
    width = float(np.mean(box.zooms)) / 2
    steps = _inner(2, box.zooms)
    points = (depth(x + dx, y + dy, z + dz) for dx, dy, dz in steps)
    everywhere: tuple[Any, ...] = (..., *at)
    shares[everywhere] = sum(np.clip(d / width + 0.5, 0, 1) for d in points) / len(steps)
    return shares


def _inner(parts: int, zooms: tuple[float, float, float]) -> FloatArray:
    """The centers of a voxel's parts x parts x parts pieces, mm from its own: (P, 3)."""
    return np.stack(np.meshgrid(*(offsets(parts, zoom) for zoom in zooms))).reshape(3, -1).T


def cover_box(depth: Depth, box: Box) -> Coverage:
    """How a shape covers the voxels of a box (X, Y, Z), to a two-hundredth at its edge."""
    x, y, z = np.broadcast_arrays(*box.points)
    level = depth(x, y, z)
    fraction = (level > 0).astype(float)
    edge = np.argwhere(np.abs(level) <= NEAR * float(np.linalg.norm(box.zooms)))
    inner = _inner(PARTS, box.zooms).T[..., None]
    for part in np.split(edge, range(CHUNK, len(edge), CHUNK)):
        at = tuple(part.T)
        fine = depth(x[at] + inner[0], y[at] + inner[1], z[at] + inner[2])
        fraction[at], level[at] = (fine > 0).mean(axis=0), np.median(fine, axis=0)
    return Coverage(fraction, level)
