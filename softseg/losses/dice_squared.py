"""The Dice loss with a squared denominator."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from softseg.losses.reduction import OverlapLoss


class DiceSquared(OverlapLoss):
    """1 - (2 sum(p y) + s) / (sum(p^2) + sum(y^2) + s), for each target.

    Which is sum((p - y)^2) / (sum(p^2) + sum(y^2) + s): a squared error relative to the size.

    Source: Milletari, Navab and Ahmadi, V-Net, 3DV 2016 (arXiv 1606.04797), section 3.

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is not a proper score, but its minimum stays inside: of a voxel that is foreground a
    quarter of the time, beside one that always is, it makes 0.19.

    Range: 0 to 1. Gradient at the minimum: 0, and it vanishes in proportion to the error.
    """

    name: Literal["dice_squared"] = "dice_squared"

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One loss per target, (K,), or per sample and target, (B, K)."""
        squared_error = self.total((prediction - target).square())
        return self.share(squared_error, 2 * self.total(prediction * target))
