"""Test-time augmentation: transform slices as in training, and predictions back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from softseg.augment import Affine, AugmentStep, Flip, TorchioTransform
from softseg.augment.batch import Frame
from softseg.augment.spatial.motion import sampling_grid
from softseg.core.seeds import generator


def sample_transforms(
    augment: Sequence[AugmentStep],
    numbers: Iterable[int],
    seed: int,
    size: Sequence[int],
    pixel_size: Sequence[float] = (1.0, 1.0),
) -> list[Tensor]:
    """Sample a transform from the augmentation of training for each sample's number.

    It has the affine and flip steps of training (`RandomFlip` flips half of the time along each of
    its axes). Others are not used: a network that never saw a flipped or rotated slice would show
    the uncertainty of its training, not of the scan; and an elastic deformation has no exact
    inverse. All slices of a scan share a sample's transform.

    Args:
        augment: the steps of training.
        numbers: the numbers of the samples, each with a random stream of its own.
        seed: seed of the random streams.
        size: height and width of a slice in pixels.
        pixel_size: height and width of a pixel in mm: rotations are in mm.

    Returns:
        Matrices (3, 3) from a point of the transformed slice to that of the slice, in normalized
        coordinates. The list is empty if training used none of these steps.
    """
    steps = [step for s in augment if (step := _invertible(s)) is not None]
    frame = Frame(tuple(size), torch.tensor([list(pixel_size)]), torch.device("cpu"))
    transforms = []
    for number in numbers if steps else ():
        stream = generator(seed, "tta", number)
        sampled = [(step, step.sample((1, 1, *size), stream)) for step in steps]
        motions = [step.motion(frame, parameters)[0] for step, parameters in sampled]
        transforms.append(reduce(torch.matmul, motions))
    return transforms


def _invertible(step: AugmentStep) -> Affine | Flip | None:
    """Return a step of training that is used in testing; None: it is not."""
    if isinstance(step, TorchioTransform) and step.name == "RandomFlip":
        axes = (step.model_extra or {}).get("axes", 0)  # TorchIO's default
        return Flip(axes=(axes,) if isinstance(axes, int) else tuple(axes))
    if isinstance(step, Flip):
        return step.model_copy(update={"swap": ()})
    return step if isinstance(step, Affine) else None


def apply_transform(
    slices: Tensor, transform: Tensor, fill: Tensor | None = None, inverse: bool = False
) -> Tensor:
    """Transform slices (S, C, H, W), or undo it, by linear interpolation.

    Outside is `fill` (S, C), as in training; without one, border pixels extend outward.
    """
    matrix = torch.linalg.inv(transform) if inverse else transform
    frame = Frame(tuple(slices.shape[2:]), torch.ones(1, 2), slices.device)
    grid = sampling_grid([matrix[None]], frame).to(slices.dtype).expand(len(slices), -1, -1, -1)
    if fill is None:
        return F.grid_sample(slices, grid, "bilinear", "border", align_corners=False)
    outside = fill[:, :, None, None].to(slices)
    moved = F.grid_sample(slices - outside, grid, "bilinear", "zeros", align_corners=False)
    return moved + outside
