"""The asymmetric unified focal loss: a focal loss and a focal Tversky loss."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from softseg.losses.bce import Epsilon
from softseg.losses.numerics import log, power
from softseg.losses.reduction import OverlapLoss


class UnifiedFocal(OverlapLoss):
    """weight T + (1 - weight) F, for each target: the asymmetric form, against its background.

    F = mean(-delta y ln(p) - (1 - delta) (1 - y) p^gamma ln(1 - p)) over voxels.
    T = ((1 - TI) ^ (1 - gamma) + 1 - TI_bg) / 2, with the Tversky indices of the target and of
    its complement: TI = (TP + s) / (TP + delta FN + (1 - delta) FP + s).

    Source: Yeung, Sala, Schönlieb and Rundo, Computerized Medical Imaging and Graphics 95, 2022
    (arXiv 2102.04525), after their code (there with an s of 1e-7); `weight` is its lambda.

    Minimum: 0, for a hard target at prediction = target. **Not valid for soft targets**: for
    y = (1, .6, .6, .3) and s = 0 it is smallest at p = (1, .680, .680, .205); F alone makes 0.20
    of 0.1 and 0.60 of 0.5. For sampled hard labels it is not a proper score either.

    Range: 0 to 4.9 with the defaults. Gradient: does not vanish at the minimum, which for a hard
    target lies at the bounds of [0, 1].
    """

    name: Literal["unified_focal"] = "unified_focal"
    weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the focal Tversky loss; the rest is the focal loss"""
    delta: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """Weight of foreground and of false negatives; of background and false positives 1 - delta"""
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """How much less background that is nearly right counts, and how much more such foreground"""
    epsilon: Epsilon = 1e-6
    """Prediction below which ln is continued by its tangent, as in `bce`"""

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One loss per target, (K,), or per sample and target, (B, K)."""
        focal = self._focal(prediction, target).mean(dim=self.axes)
        foreground = power(self._distance(prediction, target), 1 - self.gamma)
        background = self._distance(1 - prediction, 1 - target)
        return self.weight * (foreground + background) / 2 + (1 - self.weight) * focal

    def _focal(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The F of the formula for each voxel, (B, K, H, W)."""
        foreground = -self.delta * target * log(prediction, self.epsilon)
        background = -(1 - self.delta) * (1 - target) * log(1 - prediction, self.epsilon)
        if self.gamma > 0:
            background = background * power(prediction, self.gamma)
        return foreground + background

    def _distance(self, prediction: Tensor, target: Tensor) -> Tensor:
        """1 - TI of a class, per target, (K,), or per sample and target, (B, K)."""
        agreed = prediction * target
        wrong = (1 - self.delta) * (prediction - agreed) + self.delta * (target - agreed)
        return self.share(self.total(wrong), self.total(agreed))
