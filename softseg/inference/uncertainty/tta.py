"""Test-time augmentation: transform slices as in training, and predictions back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from softseg.augment import Affine, AugmentStep, TorchioTransform
from softseg.core.device import to_device
from softseg.core.seeds import generator


@dataclass(frozen=True, eq=False)
class Transform:
    """A flip, a rotation, a scale and a translation about the middle of a slice."""

    linear: Tensor  # (2, 2) on pixels (H, W) from the middle
    shift: Tensor  # (2,) along H and W, as a share of the slice's size; after the linear part


def draw_transforms(
    augment: Sequence[AugmentStep],
    numbers: Iterable[int],
    seed: int,
    size: Sequence[int],
    aspect: float = 1.0,
) -> list[Transform]:
    """Draw a random transform from the augmentation of training for each sample's number.

    It is the `affine` of training, within its ranges, and a flip half of the time along each axis
    of its `RandomFlip`. Other transforms are not used: a network that never saw a flipped or
    rotated slice would show the uncertainty of its training, not of the scan. All slices of a scan
    share a sample's transform. Rotations are in mm: `aspect` is height / width of a pixel; `size`
    is that of a slice in pixels (H, W). The list is empty if training used neither.
    """
    affine = next((step for step in augment if isinstance(step, Affine)), None)
    axes: set[int] = set()
    for step in augment:
        if isinstance(step, TorchioTransform) and step.name == "RandomFlip":
            flipped = (step.model_extra or {}).get("axes", 0)  # TorchIO's default
            axes |= {flipped} if isinstance(flipped, int) else set(flipped)
    if affine is None and not axes:
        return []
    transforms = []
    for number in numbers:
        stream = generator(seed, "tta", number)
        coins = torch.rand(2, generator=stream) < 0.5
        signs = [-1.0 if axis in axes and coins[axis] else 1.0 for axis in (0, 1)]
        angle, *scales, down, right = [0.0, 1.0, 0.0, 0.0]
        if affine is not None:
            angle, *scales, down, right = affine.sample(1, stream, size)[0].tolist()
        cos, sin = torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))
        rows = [scales[0] * cos, -scales[-1] * sin], [scales[0] * sin, scales[-1] * cos]
        rotation = torch.stack([torch.stack(row) for row in rows])
        to_mm, to_pixels = (torch.diag(torch.tensor([a, 1.0])) for a in (aspect, 1 / aspect))
        linear = to_pixels @ rotation @ to_mm @ torch.diag(torch.tensor(signs))
        transforms.append(Transform(linear, torch.tensor([down, right])))
    return transforms


def apply_transform(
    slices: Tensor, transform: Transform, fill: Tensor | None = None, inverse: bool = False
) -> Tensor:
    """Transform slices (S, C, H, W), or undo it, by linear interpolation.

    Outside is `fill` (S, C), as in training; without one, border pixels extend outward.
    """
    size = torch.tensor(slices.shape[2:], dtype=torch.float32)
    forward = torch.eye(3)  # source -> destination, both in [-1, 1], H before W
    forward[:2, :2] = transform.linear * size / size[:, None]
    forward[:2, 2] = 2 * transform.shift
    backward = forward if inverse else torch.linalg.inv(forward)
    theta = backward[[1, 0]][:, [1, 0, 2]]  # `affine_grid` has x = W first
    theta = to_device(theta.to(slices.dtype), slices.device).expand(len(slices), 2, 3)
    grid = F.affine_grid(theta, list(slices.shape), align_corners=False)
    if fill is None:
        return F.grid_sample(slices, grid, "bilinear", "border", align_corners=False)
    outside = fill[:, :, None, None].to(slices)
    moved = F.grid_sample(slices - outside, grid, "bilinear", "zeros", align_corners=False)
    return moved + outside
