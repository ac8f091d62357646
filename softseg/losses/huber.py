"""The Huber loss: squared for small errors, absolute for large ones."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from softseg.losses.reduction import ReducedLoss


class Huber(ReducedLoss):
    """d^2 / 2 where d = |p - y| is at most delta; delta (d - delta / 2) beyond.

    Source: Huber, Annals of Mathematical Statistics 35, 1964.

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is not a proper score: with delta 0.5 it makes 0.17 of a voxel that is foreground a
    quarter of the time.

    Range: 0 to delta (1 - delta / 2) per voxel, 0.375 with the default. Gradient: p - y, at most
    delta; 0 at the minimum.
    """

    name: Literal["huber"] = "huber"
    delta: Annotated[float, Field(gt=0)] = 0.5
    """Error, in units of the target, from which on the loss is linear; from 1 on it is `mse` / 2"""

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One loss per voxel, (B, K, H, W)."""
        return F.huber_loss(prediction, target, reduction="none", delta=self.delta)
