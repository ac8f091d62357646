"""Binary cross-entropy, of predictions that may be exactly 0 or 1."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from softseg.losses.numerics import log
from softseg.losses.reduction import ReducedLoss

Epsilon = Annotated[float, Field(ge=1e-7, le=0.1)]
"""Where a logarithm becomes its tangent; float32 cannot tell 1 - p below 1e-7 from 0."""


class Bce(ReducedLoss):
    """-y ln(p) - (1 - y) ln(1 - p) for each voxel.

    Below epsilon each logarithm goes on as its tangent, so that the loss and its gradient are
    finite at predictions of exactly 0 and 1, which NormReLU makes, and still point back.

    Minimum: at prediction = target only, for soft targets too (valid; a target within epsilon
    of 0 or 1 may be met up to epsilon beside). Its value there is the entropy of the target, not
    0. For sampled hard labels it is a proper score.

    Range: 0 to 1 - ln(epsilon) per voxel, 14.8 with the default. Gradient:
    (p - y) / (p (1 - p)), at most 1 / epsilon; 0 at the minimum, but 1 in size for a hard target,
    whose minimum lies at the bounds of [0, 1].
    """

    name: Literal["bce"] = "bce"
    epsilon: Epsilon = 1e-6
    """Prediction below which ln is continued by its tangent; 1 / epsilon bounds the gradient"""

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One loss per voxel, (B, K, H, W)."""
        return cross_entropy(prediction, target, self.epsilon)


def cross_entropy(prediction: Tensor, target: Tensor, epsilon: float) -> Tensor:
    """-y ln(p) - (1 - y) ln(1 - p) of predictions and targets in [0, 1], of one shape."""
    foreground, background = log(prediction, epsilon), log(1 - prediction, epsilon)
    return -(target * foreground + (1 - target) * background)
