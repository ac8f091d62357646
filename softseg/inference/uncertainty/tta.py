"""Test-time augmentation: transform samples as in training, and predictions back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from softseg.augment import Affine, AugmentStep, Flip
from softseg.augment.batch import Frame
from softseg.augment.mirroring import as_flip
from softseg.augment.spatial.motion import sampling_grid
from softseg.core.seeds import generator

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Transform:
    """One way in which all slices of a scan, or a volume, are moved."""

    matrix: Tensor
    """(d + 1, d + 1), from a point of the moved sample to that of the sample, in normalized
    coordinates."""
    exchanges_sides: bool
    """Whether axis 0 is mirrored, so that left and right targets change places."""


def sample_transforms(
    augment: Sequence[AugmentStep],
    numbers: Iterable[int],
    seed: int,
    size: Sequence[int],
    spacing: Sequence[float] | None = None,
) -> list[Transform]:
    """Sample a transform from the augmentation of training for each sample's number.

    It has the affine and flip steps of training (`RandomFlip` flips half of the time along each of
    its axes). Others are not used: a network that never saw a flipped or rotated slice would show
    the uncertainty of its training, not of the scan; and an elastic deformation has no exact
    inverse. All slices of a scan share a transform.

    Args:
        augment: the steps of training.
        numbers: the numbers of the samples, each with a random stream of its own.
        seed: seed of the random streams.
        size: voxels along each axis of a slice or volume.
        spacing: mm between voxels along each axis, since rotations are in mm; None: 1.

    The list is empty if training used none of these steps.
    """
    steps = invertible_steps(augment)
    frame = Frame(tuple(size), torch.tensor([list(spacing or [1.0] * len(size))]), _CPU)
    transforms = []
    for number in numbers if steps else ():
        stream = generator(seed, "tta", number)
        sampled = [(step, step.sample((1, 1, *size), stream)) for step in steps]
        motions = [step.motion(frame, parameters)[0] for step, parameters in sampled]
        mirrored = [
            bool(step.mirrored(parameters)[0, 0])
            for step, parameters in sampled
            if isinstance(step, Flip)
        ]
        transforms.append(Transform(reduce(torch.matmul, motions), sum(mirrored) % 2 == 1))
    return transforms


def invertible_steps(augment: Sequence[AugmentStep]) -> list[Affine | Flip]:
    """Return the steps of training that are used in testing."""
    steps = (step if isinstance(step, Affine) else as_flip(step) for step in augment)
    return [step for step in steps if step is not None]


def apply_transform(
    samples: Tensor, transform: Transform, fill: Tensor | None = None, inverse: bool = False
) -> Tensor:
    """Move samples (S, C, *spatial), or undo it, by linear interpolation.

    Outside is `fill` (S, C), as in training; without one, border pixels extend outward.
    """
    matrix = torch.linalg.inv(transform.matrix) if inverse else transform.matrix
    axes = samples.dim() - 2
    frame = Frame(tuple(samples.shape[2:]), torch.ones(1, axes), samples.device)
    grid = sampling_grid([matrix[None]], frame).to(samples.dtype)
    grid = grid.expand(len(samples), *grid.shape[1:])
    if fill is None:
        return F.grid_sample(samples, grid, "bilinear", "border", align_corners=False)
    outside = fill.to(samples).view(*fill.shape, *[1] * axes)
    moved = F.grid_sample(samples - outside, grid, "bilinear", "zeros", align_corners=False)
    return moved + outside
