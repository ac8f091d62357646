"""Linear interpolation of whole volumes on a CPU, where torch's `grid_sample` is slow in 3D.

Positions are in voxels: 0 is the center of the first one. Beyond the outer voxels, a volume has a
constant value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Part: TypeAlias = tuple[Tensor, Tensor]  # values (C, X, Y, Z), and what is outside of them, (C,)
_CHUNK = 30_000  # points whose numbers stay in a CPU's cache while their eight voxels are blended


def interpolate_points(parts: Sequence[Part], positions: Sequence[Tensor]) -> list[Tensor]:
    """Interpolate parts of a volume at any points: positions (*points) along each axis.

    Returns (C, *points) for each part. The indices and distances of voxels are computed once.
    """
    shape, points = parts[0][0].shape[1:], [position.flatten() for position in positions]
    ends = [_needed(line, size) for line, size in zip(points, shape, strict=True)]
    tables = [_padded(part, ends).flatten(1) for part in parts]
    _, y, z = (stop - start + 3 for start, stop in ends)
    results = [table.new_empty(len(table), len(points[0])) for table in tables]
    for begin in range(0, len(points[0]), _CHUNK):
        near = slice(begin, begin + _CHUNK)
        pairs = [_voxel_and_share(line[near], end) for line, end in zip(points, ends, strict=True)]
        voxels, shares = zip(*pairs, strict=True)
        index = voxels[0].mul_(y).add_(voxels[1]).mul_(z).add_(voxels[2]).long()
        for table, result in zip(tables, results, strict=True):
            for values, blended in zip(table, result, strict=True):
                _blend(values, index, (y * z, z), shares, blended[near])
    return [result.view(len(result), *positions[0].shape) for result in results]


def _needed(line: Tensor, size: int) -> tuple[int, int]:
    """Return the first voxel of an axis that positions need, and the end of these voxels."""
    low, high = (math.floor(float(limit)) for limit in (line.amin(), line.amax()))
    start = min(max(low, 0), size - 1)
    return start, max(min(high + 2, size), start + 1)


def _padded(part: Part, ends: Sequence[tuple[int, int]]) -> Tensor:
    """Return the needed voxels with a margin: one voxel before, two after them on each axis."""
    values, outside = part
    box = values[(slice(None), *(slice(*end) for end in ends))]
    table = box.new_empty(len(box), *(stop - start + 3 for start, stop in ends))
    table.copy_(outside.view(-1, 1, 1, 1).expand_as(table))
    table[:, 1:-2, 1:-2, 1:-2] = box
    return table


def _voxel_and_share(position: Tensor, ends: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the voxel before each position, counted with the margin, and the share of the next."""
    start, stop = ends
    position = (position - (start - 1)).clamp_(0, stop - start + 1)
    voxel = position.floor()
    return voxel.int(), position.sub_(voxel)


def _blend(
    values: Tensor, index: Tensor, steps: Sequence[int], shares: Sequence[Tensor], result: Tensor
) -> None:
    """Write the mean of each index's eight neighbors, weighted by the shares of the next ones."""
    planes = []
    for plane in (0, steps[0]):
        pair = []
        for row in (plane, plane + steps[1]):
            first, second = (values[at:].index_select(0, index) for at in (row, row + 1))
            pair.append(first.lerp_(second, shares[2]))
        planes.append(pair[0].lerp_(pair[1], shares[1]))
    torch.lerp(planes[0], planes[1], shares[0], out=result)


def interpolate_lines(parts: Sequence[Part], positions: Sequence[Tensor]) -> list[Tensor]:
    """Interpolate parts of a volume at a lattice of points: positions (size,) along each axis.

    Returns (C, *sizes) for each part. One axis after the other is interpolated.
    """
    return [_along_lines(values, outside, positions) for values, outside in parts]


def _along_lines(values: Tensor, outside: Tensor, lines: Sequence[Tensor]) -> Tensor:
    """Interpolate values (C, X, Y, Z) along each axis."""
    for axis, line in enumerate(lines, start=1):
        voxels, weights = _neighbors(line, values.shape[axis])
        behind = [1] * (3 - axis)
        if axis == 3:  # of the short rows, a product with a matrix is faster than a selection
            matrix = values.new_zeros(values.shape[axis], len(line))
            values = values @ matrix.scatter_add_(0, voxels, weights)
        else:
            first, second = (values.index_select(axis, own) for own in voxels)
            lower, upper = weights.view(2, -1, *behind)
            values = first.mul_(lower).addcmul_(second, upper)
        missing = 1 - weights.sum(dim=0)
        if missing.any():
            values += (outside[:, None] * missing).view(-1, *[1] * (axis - 1), len(line), *behind)
    return values


def _neighbors(line: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the voxels before and after positions (N,), and their weights: (2, N) each.

    The weight of a voxel beyond the ends is 0, with the index of the last voxel instead.
    """
    line = line.clamp(-1, size)
    before = line.floor()
    voxels = torch.stack([before, before + 1])
    share = line - before
    inside = (voxels >= 0) & (voxels < size)
    return voxels.long().clamp_(0, size - 1), torch.stack([1 - share, share]) * inside
