"""The mean squared error."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from softseg.losses.reduction import ReducedLoss


class Mse(ReducedLoss):
    """(p - y)^2 for each voxel: the Brier score.

    Source: Brier, Monthly Weather Review 78, 1950. Its mean is over voxels; the "MSE" of the
    SoftSeg paper's tables is another number, a sum over slices.

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is a proper score: a voxel that is foreground 30 % of the time becomes 0.3.

    Range: 0 to 1 per voxel. Gradient: 2 (p - y), 0 at the minimum.
    """

    name: Literal["mse"] = "mse"

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One loss per voxel, (B, K, H, W)."""
        return (prediction - target).square()
