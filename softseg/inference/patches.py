"""Slices larger than those of training: overlapping patches, their logits blended."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

Size = tuple[int, int]
OVERLAP = 0.5
"""Share of a patch that the next one covers again, at least."""
SIGMA = 1 / 8
"""Width of the Gaussian weights, as a share of the patch: its border hardly counts, since a network
knows least of what lies beyond it."""


def starts(length: int, size: int) -> list[int]:
    """Where patches of `size` begin along `length` pixels: evenly spaced, both ends covered."""
    if length <= size:
        return [0]
    last = length - size
    steps = math.ceil(last / max(1, size * (1 - OVERLAP)))
    return [round(last * step / steps) for step in range(steps + 1)]


def weights(size: Size) -> Tensor:
    """(H, W): how much each pixel of a patch counts, 1 at its middle, above 0 everywhere."""
    across = [torch.exp(-0.5 * ((torch.arange(n) - (n - 1) / 2) / (SIGMA * n)) ** 2) for n in size]
    return torch.outer(*across)


def blended(logits_of: Callable[[Tensor], Tensor], image: Tensor, size: Size) -> Tensor:
    """The logits (S, K, H, W) of slices (S, C, H, W), of patches of `size` pixels.

    Args:
        logits_of: patches (S, C, h, w) -> their logits (S, K, h, w).
        image: slices; where they are no larger than a patch they are one.
        size: of a patch, the size of the slices in training.
    """
    height, width = image.shape[2:]
    corners = list(itertools.product(starts(height, size[0]), starts(width, size[1])))
    if len(corners) == 1:
        return logits_of(image)
    one = weights((min(size[0], height), min(size[1], width)))
    total, weight = None, torch.zeros(height, width)
    for top, left in corners:
        place = (..., slice(top, top + one.shape[0]), slice(left, left + one.shape[1]))
        logits = logits_of(image[place])
        if total is None:
            total = logits.new_zeros((*logits.shape[:2], height, width))
        total[place] += logits * one.to(logits.device)
        weight[place] += one
    assert total is not None
    return total / weight.to(total.device)
