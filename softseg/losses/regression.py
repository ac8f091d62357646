"""Regression losses: squared, absolute and Huber error."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from softseg.losses.base import BaseLoss


class Mse(BaseLoss):
    """(p - y)^2 for each voxel: the Brier score.

    Source: Brier, Monthly Weather Review 78, 1950. Its mean is over voxels; the "MSE" of the
    SoftSeg paper's tables is another number, a sum over slices.

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is a proper score: the best prediction of a voxel that is foreground 30 % of the time is 0.3.

    Range: 0 to 1 per voxel. Gradient: 2 (p - y), 0 at the minimum.
    """

    name: Literal["mse"] = "mse"

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss per voxel, (B, K, H, W)."""
        return (prediction - target).square()


class Huber(BaseLoss):
    """d^2 / 2 where d = |p - y| is at most delta; delta (d - delta / 2) beyond.

    Source: Huber, Annals of Mathematical Statistics 35, 1964.

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is not a proper score: with delta 0.5 the best prediction of a voxel that is foreground a
    quarter of the time is 0.17.

    Range: 0 to delta (1 - delta / 2) per voxel, 0.375 with the default. Gradient: p - y, at most
    delta; 0 at the minimum.
    """

    name: Literal["huber"] = "huber"
    delta: Annotated[float, Field(gt=0)] = 0.5
    """Error, in units of the target, above which the loss is linear; from 1 on it is `mse` / 2"""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss per voxel, (B, K, H, W)."""
        return F.huber_loss(prediction, target, reduction="none", delta=self.delta)


class L1(BaseLoss):
    """|p - y| for each voxel.

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is not a proper score: the best prediction is the median, a hard mask of the voxels that
    are foreground more than half of the time.

    Range: 0 to 1 per voxel. Gradient: the sign of p - y, so it stays 1 next to the minimum; 0 at
    the minimum itself.
    """

    name: Literal["l1"] = "l1"

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss per voxel, (B, K, H, W)."""
        return (prediction - target).abs()
