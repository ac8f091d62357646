"""The Wing loss, the regression loss that Adaptive Wing came from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from softseg.losses.reduction import ReducedLoss


class Wing(ReducedLoss):
    """omega ln(1 + d / epsilon) where d = |p - y| is below omega; d - C beyond.

    C = omega - omega ln(1 + omega / epsilon) makes the value continuous at omega; the slope
    jumps there, from omega / (epsilon + omega) to 1.

    Source: Feng, Kittler, Awais, Huber and Wu, CVPR 2018 (arXiv 1711.06753). Its omega 10 and
    epsilon 2 are the defaults, but in pixels of a landmark's position: in [0, 1] they reach the
    logarithm only, nearly an `l1` of slope 5 to 3.3. `omega: 0.5, epsilon: 0.1` shows the shape.

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is not a proper score: it makes a hard mask of what is foreground more than half of the
    time.

    Range: 0 to 4.055 per voxel with the defaults. Gradient: 0 at the minimum itself, but
    omega / epsilon beside it, where the loss is steepest.
    """

    name: Literal["wing"] = "wing"
    omega: Annotated[float, Field(gt=0)] = 10.0
    """Error, in units of the target, from which on the loss is linear; also its scale"""
    epsilon: Annotated[float, Field(ge=1e-6)] = 2.0
    """Error at which the logarithm begins to bend; the smaller, the steeper near 0"""

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One loss per voxel, (B, K, H, W)."""
        error = (prediction - target).abs()
        curve = self.omega * (error.clamp(max=self.omega) / self.epsilon).log1p()
        return curve + F.relu(error - self.omega)
