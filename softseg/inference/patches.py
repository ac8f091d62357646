"""Sliding-window inference for slices larger than those of training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from softseg.core.device import to_device

Size = tuple[int, int]
OVERLAP = 0.5
"""Least share of a patch that the next one covers again."""
SIGMA = 1 / 8
"""Width of the Gaussian weights, as a share of the patch: the border of a patch counts little,
since there the network sees the least context."""


def patch_starts(length: int, size: int) -> list[int]:
    """Where patches of `size` begin along `length` pixels: evenly spaced, both ends covered."""
    if length <= size:
        return [0]
    last = length - size
    steps = math.ceil(last / max(1, size * (1 - OVERLAP)))
    return [round(last * step / steps) for step in range(steps + 1)]


def gaussian_weights(size: Size) -> Tensor:
    """Return the weight of each pixel of a patch, (H, W): 1 in the middle, above 0 everywhere."""
    across = [torch.exp(-0.5 * ((torch.arange(n) - (n - 1) / 2) / (SIGMA * n)) ** 2) for n in size]
    return torch.outer(*across)


def sliding_window_logits(
    logits_of: Callable[[Tensor], Tensor], image: Tensor, size: Size
) -> Tensor:
    """Return the logits (S, K, H, W) of slices (S, C, H, W), blended from overlapping patches.

    Args:
        logits_of: patches (S, C, h, w) -> their logits (S, K, h, w).
        image: the slices; those no larger than a patch are passed on whole.
        size: (h, w) of a patch, which is the size of the slices in training.
    """
    height, width = image.shape[2:]
    corners = list(itertools.product(patch_starts(height, size[0]), patch_starts(width, size[1])))
    if len(corners) == 1:
        return logits_of(image)
    weights = gaussian_weights((min(size[0], height), min(size[1], width)))
    total, total_weight = None, torch.zeros(height, width)
    for top, left in corners:
        window = (..., slice(top, top + weights.shape[0]), slice(left, left + weights.shape[1]))
        logits = logits_of(image[window])
        if total is None:
            total = logits.new_zeros((*logits.shape[:2], height, width))
            near_weights = to_device(weights, logits.device)
        total[window] += logits * near_weights
        total_weight[window] += weights
    assert total is not None
    return total / total_weight.to(total.device)
