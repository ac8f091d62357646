"""Motions of points, and their composition into one sampling grid.

A motion maps each point of an output to the point of the input that it shows. Coordinates run from
-1 to 1 from one face of a slice or patch to the other, in the order of its axes (H, W or H, W, D).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from softseg.augment.batch import Frame
from softseg.core.device import to_device


@dataclass(frozen=True)
class Bend:
    """A motion by a displacement that differs from point to point."""

    displacement: Tensor  # (B, *spatial, d), in normalized coordinates, on the device


Motion: TypeAlias = Tensor | Bend  # a tensor: affine matrices (B, d + 1, d + 1), on the CPU


def sampling_grid(motions: Sequence[Motion], frame: Frame) -> Tensor:
    """Compose motions, in the order in which they move the image, for `grid_sample`.

    Returns (B, *spatial, d), on the device. A point of the output passes through the motions from
    the last to the first. Displacements are interpolated linearly between the points where they
    are known.
    """
    axes = len(frame.shape)
    matrix = torch.eye(axes + 1).expand(len(frame.spacing), -1, -1)
    moved = False  # whether `matrix` is more than the identity
    points: Tensor | None = None  # None: the points of the output
    for motion in reversed(motions):
        if isinstance(motion, Tensor):
            matrix = motion @ matrix if moved else motion
            moved = True
            continue
        if moved:
            points = _transform(points, matrix, frame)
            displacement = F.grid_sample(
                motion.displacement.movedim(-1, 1), points, "bilinear", "border", False
            )
            points = points + displacement.movedim(1, -1).flip(-1)
        else:
            start = _transform(None, matrix, frame) if points is None else points
            points = start + motion.displacement.flip(-1)
        matrix, moved = torch.eye(axes + 1).expand(len(frame.spacing), -1, -1), False
    return points if points is not None and not moved else _transform(points, matrix, frame)


def axis_lines(motions: Sequence[Motion], frame: Frame) -> list[Tensor] | None:
    """Compose motions of one sample that only scale, shift and mirror along its axes.

    Returns the coordinates (size,) of the sampling grid along each axis, on the CPU; None if a
    motion turns or bends.
    """
    matrix = torch.eye(len(frame.shape) + 1)
    for motion in reversed(motions):
        if not isinstance(motion, Tensor):
            return None
        matrix = motion[0] @ matrix
    scale, shift = matrix.diagonal()[:-1], matrix[:-1, -1]
    if not torch.equal(matrix[:-1, :-1], scale.diag()):
        return None
    centers = [_voxel_centers(size, torch.device("cpu")) for size in frame.shape]
    return [line * scale[axis] + shift[axis] for axis, line in enumerate(centers)]


def _transform(points: Tensor | None, matrix: Tensor, frame: Frame) -> Tensor:
    """Apply matrices (B, d + 1, d + 1) to points (B, *spatial, d), or to those of the output.

    The last coordinate of a point is that of the first axis, as `grid_sample` expects. The result
    is stored with one plane for each coordinate, which `grid_sample` reads as fast; on a CPU this
    takes half as long as `affine_grid`.
    """
    axes, count = len(frame.shape), len(matrix)
    near = to_device(matrix[:, :-1].flip(1), frame.device)  # rows in the order of `grid_sample`
    moved = near[:, :, -1].view(count, axes, *[1] * axes)  # the shift
    for axis, size in enumerate(frame.shape):
        if points is None:
            line = _voxel_centers(size, frame.device)
            coordinate = line.view(*[1] * (axis + 2), -1, *[1] * (axes - axis - 1))
        else:
            coordinate = points[..., axes - 1 - axis][:, None]
        moved = torch.addcmul(moved, near[:, :, axis].view(count, axes, *[1] * axes), coordinate)
    return moved.movedim(1, -1)


@lru_cache(maxsize=64)
def _voxel_centers(size: int, device: torch.device) -> Tensor:
    """Return the normalized coordinates (size,) of the voxels along an axis."""
    return (2 * torch.arange(size, device=device) + 1) / size - 1
