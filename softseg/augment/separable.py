"""Operations that act on one axis after the other, with parameters of their own for each sample.

They work for any number of axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def along_axes(values: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Multiply each spatial axis of `values` (N, *spatial) by its matrix (N, out, in).

    Returns (N, *out): every axis has the length that its matrix gives it.
    """
    for axis, matrix in enumerate(matrices):
        moved = values.movedim(axis + 1, 1)
        product = torch.bmm(matrix, moved.flatten(2) if moved.dim() > 2 else moved[..., None])
        values = product.view(len(values), -1, *moved.shape[2:]).movedim(1, axis + 1)
    return values


def smooth(values: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Smooth each of the `values` (N, *spatial) with its own Gaussian.

    Sums of shifted copies: for the few weights of a small Gaussian, several times as fast as
    convolutions or matrix products with one kernel for each image.

    Args:
        values: (N, *spatial).
        sigma: (N,), in voxels, on the same device. 0 leaves an image as it is.
        radius: the voxels on each side that are summed. The ends are mirrored.
    """
    distance = torch.arange(radius + 1, device=sigma.device)
    # below a twentieth of a voxel the neighbors' weights are 0 in float32
    weights = torch.exp(-0.5 * (distance / sigma.clamp(min=0.05)[:, None]) ** 2)
    weights = weights / (2 * weights.sum(dim=1, keepdim=True) - weights[:, :1])
    weights = weights.T.reshape(radius + 1, -1, *[1] * (values.dim() - 1))
    for axis in range(1, values.dim()):
        size = values.shape[axis]
        place = torch.arange(-radius, size + radius, device=values.device) % (2 * size)
        mirrored = values.index_select(axis, torch.minimum(place, 2 * size - 1 - place))
        values = mirrored.narrow(axis, radius, size) * weights[0]
        for k in range(1, radius + 1):
            before, after = (mirrored.narrow(axis, radius + way, size) for way in (-k, k))
            values.addcmul_(before + after, weights[k])
    return values


def bspline_matrix(positions: Tensor, nodes: int) -> Tensor:
    """Return the cubic B-splines of `nodes` control points at the positions (N, P): (N, P, nodes).

    Positions are in intervals of the lattice; control point k is at k - 1, so that the positions
    from 0 to `nodes` - 3 have all four of the control points that they depend on.
    """
    knots = torch.arange(nodes, device=positions.device, dtype=positions.dtype) - 1
    distance = (positions[:, :, None] - knots).abs()
    near = 2 / 3 - distance**2 * (1 - distance / 2)
    far = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, near, far)


def power_matrix(size: int, order: int, like: Tensor) -> Tensor:
    """Return (size, order + 1): powers 0 to `order` of the position, from -1 to 1 on the axis."""
    position = torch.linspace(-1, 1, size, device=like.device, dtype=like.dtype)
    return torch.stack([position**power for power in range(order + 1)], dim=1)
