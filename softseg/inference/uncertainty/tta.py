"""Slices moved as in training, and what was predicted of them moved back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from softseg.augment import Affine, AugmentStep, TorchioTransform
from softseg.core.seeds import generator


@dataclass(frozen=True, eq=False)
class Move:
    """A flip, a rotation, a scale and a shift about the middle of a slice."""

    linear: Tensor  # (2, 2) on pixels (H, W) from the middle
    shift: Tensor  # (2,) along H and W, as a share of the slice's size; after the linear part
    back: bool = False  # the other way round

    def inverse(self) -> Move:
        """The move that undoes this one."""
        return replace(self, back=not self.back)


def moves(augment: Sequence[AugmentStep], numbers: Iterable[int], seed: int) -> list[Move]:
    """What a training's augmentation could have done to a scan's slices, for each sample's number.

    Its `affine` at the ranges of the training, and a flip half of the time along each axis of its
    `RandomFlip`. Nothing else is done: a network that never saw a flipped or a turned slice would
    tell of its training, not of the scan. One move a sample, for all slices of a scan. An empty
    list for a training with neither.
    """
    affine = next((one for one in augment if isinstance(one, Affine)), None)
    axes = {axis for one in augment for axis in _flipped(one)}
    if affine is None and not axes:
        return []
    return [_drawn(affine, axes, generator(seed, "tta", number)) for number in numbers]


def _flipped(step: AugmentStep) -> tuple[int, ...]:
    if not isinstance(step, TorchioTransform) or step.name != "RandomFlip":
        return ()
    given = (step.model_extra or {}).get("axes", 0)  # TorchIO's default
    return (given,) if isinstance(given, int) else tuple(given)


def _drawn(affine: Affine | None, axes: set[int], stream: Generator) -> Move:
    coins = torch.rand(2, generator=stream) < 0.5
    signs = [-1.0 if axis in axes and coins[axis] else 1.0 for axis in (0, 1)]
    angle, scale, *shift = [0.0, 1.0, 0.0, 0.0]
    if affine is not None:
        angle, scale, *shift = affine.sample(1, stream)[0].tolist()
    cos, sin = scale * torch.cos(torch.tensor(angle)), scale * torch.sin(torch.tensor(angle))
    turned = torch.stack([torch.stack([cos, -sin]), torch.stack([sin, cos])])
    return Move(turned @ torch.diag(torch.tensor(signs)), torch.tensor(shift))


def warped(slices: Tensor, move: Move) -> Tensor:
    """Slices (S, C, H, W) moved, by linear interpolation; beyond the edge it goes on as there."""
    size = torch.tensor(slices.shape[2:], dtype=torch.float32)
    whole = torch.eye(3)  # where a pixel goes, both in [-1, 1], H before W
    whole[:2, :2] = move.linear * size / size[:, None]
    whole[:2, 2] = 2 * move.shift
    read = whole if move.back else torch.linalg.inv(whole)
    theta = read[[1, 0]][:, [1, 0, 2]]  # `affine_grid` has x = W first
    grid = F.affine_grid(
        theta.expand(len(slices), 2, 3).to(slices), list(slices.shape), align_corners=False
    )
    return F.grid_sample(slices, grid, "bilinear", "border", align_corners=False)
