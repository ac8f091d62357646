"""The generalised Dice loss: one Dice of all classes, small ones weighted up."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from softseg.losses.reduction import OverlapLoss


class GeneralizedDice(OverlapLoss):
    """1 - (2 sum_l w_l sum(p_l y_l) + s) / (sum_l w_l sum(p_l + y_l) + s), w_l ~ 1 / sum(y_l)^2.

    The classes l are the targets and, with `background`, the complement 1 - y of each (computed
    softly, not from exact zeros). Weights are relative to that of the smallest class, which is
    1, so s is in its voxels; an absent class, whose weight would be infinite, has 1 too.

    Source: Sudre, Li, Vercauteren, Ourselin and Cardoso, DLMIA 2017 (arXiv 1707.03237),
    section 2, which counts the background among the classes.

    Minimum: 0, for a hard target at prediction = target. **Not valid for soft targets**: it is
    smallest at a hard mask, for y = (1, .6, .6, .3) at (1, 1, 1, 0) as `dice`. For sampled hard
    labels it is not a proper score either.

    Range: 0 to 1. Gradient: does not vanish at the minimum.
    """

    name: Literal["generalized_dice"] = "generalized_dice"
    background: bool = True
    """Whether the complement of each target is a class too; without, one target alone is `dice`"""

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One loss, (), or one per sample, (B,)."""
        if self.background:
            prediction = torch.cat([prediction, 1 - prediction], dim=1)
            target = torch.cat([target, 1 - target], dim=1)
        weight = _weights(self.total(target))
        agreed = prediction * target
        wrong = self.total(prediction + target - 2 * agreed)
        return self.share((weight * wrong).sum(-1), 2 * (weight * self.total(agreed)).sum(-1))


def _weights(volume: Tensor) -> Tensor:
    """(smallest / volume)^2 of the volumes (..., L) of classes; 1 for those that are absent."""
    present = volume > 0
    smallest = volume.masked_fill(~present, torch.inf).amin(-1, keepdim=True)
    return torch.where(present, (smallest / volume).square(), 1)
