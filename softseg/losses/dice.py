"""The Dice loss with a linear denominator."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from softseg.losses.reduction import OverlapLoss, ratio


class Dice(OverlapLoss):
    """1 - (2 sum(p y) + s) / (sum(p) + sum(y) + s), for each target: the paper's Dice loss.

    Source: Gros et al. 2020, section 2.3.9 (the published code returns this minus 1).

    Minimum: 0, for a hard target at prediction = target. **Not valid for soft targets**: for
    y = (1, .6, .6, .3) and s = 0 it is 0.276 at p = y and 0.200 at p = (1, 1, 1, 0), because
    it is smallest when every voxel with y above half the best Dice is 1 and every other 0.
    `dml1` equals it for hard targets and is valid for soft ones. For sampled hard labels it is
    not a proper score either: an uncertain region is best all 0 or all 1, a volume bias.

    Range: 0 to 1. Gradient at a voxel: (D - 2 y) / (sum(p) + sum(y) + s), D the Dice; it does
    not vanish at the minimum, which lies at the bounds of [0, 1].
    """

    name: Literal["dice"] = "dice"

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One loss per target, (K,), or per sample and target, (B, K)."""
        overlap = 2 * self.total(prediction * target) + self.smooth
        whole = self.total(prediction) + self.total(target) + self.smooth
        return 1 - ratio(overlap, whole, nothing=1)
