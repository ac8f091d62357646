"""The Dice loss with a linear denominator."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from softseg.losses.reduction import ReducedLoss


class Dice(ReducedLoss):
    """1 - (2 sum(p y) + s) / (sum(p) + sum(y) + s), for each target: the paper's Dice loss.

    Source: Gros et al. 2020, section 2.3.9 (the published code returns this minus 1).

    Minimum: 0, for a hard target at prediction = target. **Not valid for soft targets**: for
    y = (1, .6, .6, .3) and s = 0 it is 0.276 at p = y and 0.200 at p = (1, 1, 1, 0), because
    it is smallest when every voxel with y above half the best Dice is 1 and every other 0.

    Range: 0 to 1. Gradient at a voxel: (D - 2 y) / (sum(p) + sum(y) + s), D the Dice; it does
    not vanish at the minimum, which lies at the bounds of [0, 1].
    """

    name: Literal["dice"] = "dice"
    smooth: Annotated[float, Field(ge=0)] = 1.0
    """The s of the formula, in voxels; above 0, an empty target has a gradient to learn from"""
    per: Literal["batch", "sample"] = "batch"
    """What a sum runs over: all voxels of a target in the batch (the paper's code), or in each \
sample"""

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One loss per target, (K,), or per sample and target, (B, K)."""
        axes = (0, 2, 3) if self.per == "batch" else (2, 3)
        overlap = 2 * (prediction * target).sum(dim=axes) + self.smooth
        total = prediction.sum(dim=axes) + target.sum(dim=axes) + self.smooth
        # Only without smoothing can nothing meet nothing: agreement, not 0 / 0.
        empty = total == 0
        return 1 - torch.where(empty, 1, overlap / total.masked_fill(empty, 1))
