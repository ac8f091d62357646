"""The mean absolute error."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from softseg.losses.reduction import ReducedLoss


class L1(ReducedLoss):
    """|p - y| for each voxel.

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is not a proper score: it makes the median, a hard mask of what is foreground more than
    half of the time.

    Range: 0 to 1 per voxel. Gradient: the sign of p - y, so it stays 1 beside the minimum; 0 at
    the minimum itself.
    """

    name: Literal["l1"] = "l1"

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One loss per voxel, (B, K, H, W)."""
        return (prediction - target).abs()
