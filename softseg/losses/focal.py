"""The focal loss, in the form that soft targets need."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from softseg.losses.bce import Epsilon, cross_entropy
from softseg.losses.numerics import power
from softseg.losses.reduction import ReducedLoss


class Focal(ReducedLoss):
    """a (1 - p_t)^gamma CE for each voxel, with CE as in `bce` and p_t = exp(-CE).

    a = alpha y + (1 - alpha) (1 - y), or 1 without alpha.

    Source: Lin, Goyal, Girshick, He and Dollár, ICCV 2017 (arXiv 1708.02002), equations 4 and 5;
    for hard targets it is theirs. Theirs, written out as
    -y (1 - p)^gamma ln(p) - (1 - y) p^gamma ln(1 - p), is not valid for soft targets.

    Minimum: at prediction = target only, for soft targets too (valid, as far as `bce` is), since
    it grows with CE. Its value there is not 0. For sampled hard labels it is not a proper score:
    with gamma 2 it makes 0.31 of a voxel that is foreground a tenth of the time.

    Range: 0 to 1 - ln(epsilon) per voxel, 14.8 with the defaults. Gradient at the minimum: 0.
    """

    name: Literal["focal"] = "focal"
    gamma: Annotated[float, Field(ge=0)] = 2.0
    """How much less well-predicted voxels count; 0 is `bce`"""
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Weight of foreground, of background 1 - alpha (Lin's: 0.25); null: both 1"""
    epsilon: Epsilon = 1e-6
    """Prediction below which ln is continued by its tangent, as in `bce`"""

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One loss per voxel, (B, K, H, W)."""
        entropy = cross_entropy(prediction, target, self.epsilon)
        if self.gamma > 0:
            entropy = entropy * power(-(-entropy).expm1(), self.gamma)
        if self.alpha is None:
            return entropy
        return entropy * (self.alpha * target + (1 - self.alpha) * (1 - target))
