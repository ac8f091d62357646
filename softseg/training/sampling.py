"""Which slices an epoch goes through, and in what order."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from softseg.ranks import Part


def epoch_order(
    rows: Tensor, foreground: Tensor, share: float | None, shuffle: torch.Generator
) -> Tensor:
    """The slices of one epoch in random order, (N,), as many as there are.

    Args:
        rows: (N,) the training slices.
        foreground: (N,) bool, which of them hold any target.
        share: how large a part of the epoch those should be, in (0, 1]; None takes every slice
            once. Within either kind each slice is drawn equally often, but for one time.
        shuffle: where the randomness comes from.
    """
    if share is None or foreground.all() or not foreground.any():
        return rows[torch.randperm(len(rows), generator=shuffle)]
    count = min(len(rows), max(1, round(share * len(rows))))
    inside = _drawn(rows[foreground], count, shuffle)
    outside = _drawn(rows[~foreground], len(rows) - count, shuffle)
    drawn = torch.cat([inside, outside])
    return drawn[torch.randperm(len(drawn), generator=shuffle)]


def _drawn(rows: Tensor, count: int, shuffle: torch.Generator) -> Tensor:
    """`count` of the rows: all of them as often as fits, then some of them once more."""
    rounds = math.ceil(count / len(rows))
    shuffled = [rows[torch.randperm(len(rows), generator=shuffle)] for _ in range(rounds)]
    return torch.cat([*shuffled, rows[:0]])[:count]


def draw_rater(
    raters: Tensor, counts: Tensor, draws: torch.Generator, part: Part | None = None
) -> Tensor:
    """The masks of one rater of each slice, (B, K, H, W), each rater equally likely.

    Args:
        raters: (B, R, K, H, W), of which the first `counts` (B,) are a slice's own.
        counts: as many as there are raters of each slice.
        draws: where the randomness comes from, on the CPU.
        part: which slices of a batch these are where several processes share it.
    """
    share = torch.rand(part.whole if part else len(raters), generator=draws)
    share = (part.of(share) if part else share).to(counts.device, non_blocking=True)
    drawn = torch.minimum((share * counts).long(), counts - 1)  # a product may round up
    return raters[torch.arange(len(raters), device=raters.device), drawn]
