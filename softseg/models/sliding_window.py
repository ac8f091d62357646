"""Sliding-window inference for slices and volumes larger than the samples of training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import reduce
from types import EllipsisType

import torch
from torch import Tensor

from softseg.core.device import to_device

LogitsFunction = Callable[[Tensor], Tensor]
"""Samples or windows of them (B, C, *spatial) -> their logits (B, K, *spatial)."""
Window = tuple[slice | EllipsisType, ...]
_WHOLE: Window = (...,)
OVERLAP = 0.5
"""Least share of a window that the next one covers again."""
SIGMA = 1 / 8
"""Width of the Gaussian weights, as a share of the window: the border of a window counts little,
since there the network sees the least context."""


def window_starts(length: int, size: int) -> list[int]:
    """Where windows of `size` begin along `length` voxels: evenly spaced, both ends covered."""
    if length <= size:
        return [0]
    last = length - size
    steps = math.ceil(last / max(1, size * (1 - OVERLAP)))
    return [round(last * step / steps) for step in range(steps + 1)]


def window_count(shape: Sequence[int], size: Sequence[int]) -> int:
    """Return the number of windows of `size` that cover a sample of this shape."""
    return math.prod(len(window_starts(*pair)) for pair in zip(shape, size, strict=True))


def gaussian_weights(size: Sequence[int]) -> Tensor:
    """Return the weight of each voxel of a window, of shape `size`: 1 in the middle, never 0."""
    axes = [torch.exp(-0.5 * ((torch.arange(n) - (n - 1) / 2) / (SIGMA * n)) ** 2) for n in size]
    return reduce(lambda weights, axis: weights[..., None] * axis, axes)


def sliding_window_logits(
    logits_of: LogitsFunction,
    image: Tensor,
    size: Sequence[int],
    *,
    fill: Tensor | None = None,
    batch_size: int = 1,
) -> Tensor:
    """Return the logits (S, K, *spatial) of samples (S, C, *spatial), blended from windows.

    Windows overlap by half, and their logits are averaged with Gaussian weights. They are summed
    where the image is: on the host for a volume that does not fit on the device.

    Args:
        logits_of: windows (B, C, *size) -> their logits (B, K, *size), or n times as many if it
            returns each n times; the result then has n times as many samples, too.
        image: all samples of a scan. Those no larger than a window are passed on whole.
        size: voxels of a window along each spatial axis, which are those of a sample in training.
        fill: (S, C), the background, with which smaller samples are padded to a window; None: they
            are passed on as they are.
        batch_size: number of samples that `logits_of` takes at once; does not change the result.
    """
    padded, inside = image, _WHOLE
    if fill is not None:
        padded, inside = _padded(image, fill, size)
    shape = padded.shape[2:]
    starts = [window_starts(length, n) for length, n in zip(shape, size, strict=True)]
    corners = list(itertools.product(*starts))
    if len(corners) == 1:
        return logits_of(padded)[inside]
    weights = gaussian_weights([min(pair) for pair in zip(size, shape, strict=True)])
    near_weights = to_device(weights, image.device)
    total: Tensor | None = None
    total_weight = torch.zeros(shape)
    together = max(1, batch_size // len(image))
    for first in range(0, len(corners), together):
        windows = [_window(corner, weights.shape) for corner in corners[first : first + together]]
        logits = logits_of(torch.cat([padded[window] for window in windows]))
        parts = logits.to(image.device).split(len(logits) // len(windows))
        for window, part in zip(windows, parts, strict=True):
            if total is None:
                total = part.new_zeros((*part.shape[:2], *shape))
            total[window] += part * near_weights
            total_weight[window] += weights
    assert total is not None
    return (total / total_weight.to(total.device))[inside]


def _window(corner: Sequence[int], size: Sequence[int]) -> Window:
    """Return the index of the spatial axes of a window at a corner."""
    pairs = zip(corner, size, strict=True)
    return (..., *(slice(start, start + length) for start, length in pairs))


def _padded(image: Tensor, fill: Tensor, size: Sequence[int]) -> tuple[Tensor, Window]:
    """Return samples padded with their background to at least `size`, and the index of the image.

    The image is in the middle, as where `crop` pads.
    """
    shape = image.shape[2:]
    if all(length >= n for length, n in zip(shape, size, strict=True)):
        return image, _WHOLE
    larger = [max(pair) for pair in zip(shape, size, strict=True)]
    corner = [-((n - m) // 2) for n, m in zip(shape, larger, strict=True)]
    inside = _window(corner, shape)
    background = fill.to(image).view(*fill.shape, *[1] * len(shape))
    padded = background.expand(*fill.shape, *larger).clone()
    padded[inside] = image
    return padded, inside
