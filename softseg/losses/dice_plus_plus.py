"""The Dice++ loss: Dice with a power on what is wrong."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from softseg.losses.reduction import OverlapLoss


class DicePlusPlus(OverlapLoss):
    """1 - (2 TP + s) / (2 TP + FP + FN + s), for each target.

    TP = sum(p y), FP = sum((p (1 - y))^gamma), FN = sum((y (1 - p))^gamma). For hard targets and
    gamma 2 it is `dice_squared`.

    Source: Yeung et al., Journal of Digital Imaging 36, 2023 (arXiv 2111.00528).

    Minimum: 0, for a hard target at prediction = target. **Not valid for soft targets**: for
    y = (1, .6, .6, .3) and s = 0 it is smallest at p = (1, .781, .781, .195). For sampled hard
    labels it is not a proper score either.

    Range: 0 to 1. Gradient: 0 at a hard target with gamma above 1, so confident errors count
    most.
    """

    name: Literal["dice++"] = "dice++"
    gamma: Annotated[float, Field(ge=1)] = 2.0
    """Power on the error of a voxel; 1 is `dice`"""

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One loss per target, (K,), or per sample and target, (B, K)."""
        agreed = prediction * target
        # rounding may make an error negative, of which a power is NaN
        false_positive = F.relu(prediction - agreed) ** self.gamma
        false_negative = F.relu(target - agreed) ** self.gamma
        return self.share(self.total(false_positive + false_negative), 2 * self.total(agreed))
