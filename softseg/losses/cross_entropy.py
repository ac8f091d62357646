"""Binary cross-entropy of predictions that may be exactly 0 or 1, and focal losses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from softseg.losses.base import BaseLoss, OverlapLoss, log, power

Epsilon = Annotated[float, Field(ge=1e-7, le=0.1)]
"""Below it a logarithm becomes its tangent; in float32 1 - p below 1e-7 is not distinct from 0."""


class Bce(BaseLoss):
    """-y ln(p) - (1 - y) ln(1 - p) for each voxel.

    Below epsilon each logarithm continues as its tangent, so that at predictions of exactly 0 and
    1, which NormReLU makes, the loss and its gradient are finite and still point to the target.

    Minimum: at prediction = target only, for soft targets too (valid; a target within epsilon
    of 0 or 1 may have its minimum up to epsilon off). Its value there is the entropy of the
    target, not 0. For sampled hard labels it is a proper score.

    Range: 0 to 1 - ln(epsilon) per voxel, 14.8 with the default. Gradient:
    (p - y) / (p (1 - p)), at most 1 / epsilon; 0 at the minimum, but 1 in size for a hard target,
    where the minimum is at the bounds of [0, 1].
    """

    name: Literal["bce"] = "bce"
    epsilon: Epsilon = 1e-6
    """Prediction below which ln continues as its tangent; 1 / epsilon bounds the gradient"""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss per voxel, (B, K, *spatial)."""
        return cross_entropy(prediction, target, self.epsilon)


def cross_entropy(prediction: Tensor, target: Tensor, epsilon: float) -> Tensor:
    """Return -y ln(p) - (1 - y) ln(1 - p) of predictions and targets in [0, 1], of one shape."""
    foreground, background = log(prediction, epsilon), log(1 - prediction, epsilon)
    return -(target * foreground + (1 - target) * background)


class Focal(BaseLoss):
    """a (1 - p_t)^gamma CE for each voxel, with CE as in `bce` and p_t = exp(-CE).

    a = alpha y + (1 - alpha) (1 - y), or 1 without alpha.

    Source: Lin, Goyal, Girshick, He and Dollár, ICCV 2017 (arXiv 1708.02002), equations 4 and 5;
    for hard targets it is theirs. Theirs, written out as
    -y (1 - p)^gamma ln(p) - (1 - y) p^gamma ln(1 - p), is not valid for soft targets.

    Minimum: at prediction = target only, for soft targets too (valid, as far as `bce` is), since
    it grows with CE. Its value there is not 0. For sampled hard labels it is not a proper score:
    with gamma 2 the best prediction of a voxel that is foreground a tenth of the time is 0.31.

    Range: 0 to 1 - ln(epsilon) per voxel, 14.8 with the defaults. Gradient at the minimum: 0.
    """

    name: Literal["focal"] = "focal"
    gamma: Annotated[float, Field(ge=0)] = 2.0
    """Power that lowers the weight of well-predicted voxels; 0 is `bce`"""
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Weight of foreground, of background 1 - alpha (Lin's: 0.25); null: both 1"""
    epsilon: Epsilon = 1e-6
    """Prediction below which ln continues as its tangent, as in `bce`"""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss per voxel, (B, K, *spatial)."""
        entropy = cross_entropy(prediction, target, self.epsilon)
        if self.gamma > 0:
            entropy = entropy * power(-(-entropy).expm1(), self.gamma)
        if self.alpha is None:
            return entropy
        return entropy * (self.alpha * target + (1 - self.alpha) * (1 - target))


class UnifiedFocal(OverlapLoss):
    """weight T + (1 - weight) F, for each target: the asymmetric form, against its background.

    F = mean(-delta y ln(p) - (1 - delta) (1 - y) p^gamma ln(1 - p)) over voxels.
    T = ((1 - TI) ^ (1 - gamma) + 1 - TI_bg) / 2, with the Tversky indices of the target and of
    its complement: TI = (TP + s) / (TP + delta FN + (1 - delta) FP + s).

    Source: Yeung, Sala, Schönlieb and Rundo, Computerized Medical Imaging and Graphics 95, 2022
    (arXiv 2102.04525), after their code (there with an s of 1e-7); `weight` is its lambda.

    Minimum: 0, for a hard target at prediction = target. **Not valid for soft targets**: for
    y = (1, .6, .6, .3) and s = 0 it is smallest at p = (1, .680, .680, .205); F alone at 0.20
    for y = 0.1 and at 0.60 for y = 0.5. For sampled hard labels it is not a proper score either.

    Range: 0 to 4.9 with the defaults. Gradient: does not vanish at the minimum, which for a hard
    target is at the bounds of [0, 1].
    """

    name: Literal["unified_focal"] = "unified_focal"
    weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of the focal Tversky loss; the rest is the focal loss"""
    delta: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """Weight of foreground and of false negatives; of background and false positives 1 - delta"""
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Lowers the weight of nearly right background, and raises that of nearly right foreground"""
    epsilon: Epsilon = 1e-6
    """Prediction below which ln continues as its tangent, as in `bce`"""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss per target, (K,), or per sample and target, (B, K)."""
        foreground = -self.delta * target * log(prediction, self.epsilon)
        background = -(1 - self.delta) * (1 - target) * log(1 - prediction, self.epsilon)
        if self.gamma > 0:
            background = background * power(prediction, self.gamma)
        focal = self.average(foreground + background)
        target_distance = power(self._tversky_distance(prediction, target), 1 - self.gamma)
        background_distance = self._tversky_distance(1 - prediction, 1 - target)
        tversky = (target_distance + background_distance) / 2
        return self.weight * tversky + (1 - self.weight) * focal

    def _tversky_distance(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return 1 - TI of a class per target, (K,), or per sample and target, (B, K)."""
        agreed = prediction * target
        wrong = (1 - self.delta) * (prediction - agreed) + self.delta * (target - agreed)
        return self.error_ratio(self.total(wrong), self.total(agreed))
