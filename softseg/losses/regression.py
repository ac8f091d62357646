"""Regression losses: squared, absolute and Huber error, and Wing losses, steep near the target."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from softseg.losses.base import BaseLoss

_ROUNDING = 1e-5
"""How far interpolation in float32 may move a target out of [0, 1]; it is clamped, not rejected."""


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
        """Return one loss per voxel, (B, K, *spatial)."""
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
        """Return one loss per voxel, (B, K, *spatial)."""
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
        """Return one loss per voxel, (B, K, *spatial)."""
        return (prediction - target).abs()


class Wing(BaseLoss):
    """omega ln(1 + d / epsilon) where d = |p - y| is below omega; d - C beyond.

    C = omega - omega ln(1 + omega / epsilon) makes the value continuous at omega; the slope
    jumps there, from omega / (epsilon + omega) to 1.

    Source: Feng, Kittler, Awais, Huber and Wu, CVPR 2018 (arXiv 1711.06753). Its omega 10 and
    epsilon 2 are the defaults, but in pixels of a landmark's position: in [0, 1] they use the
    logarithm only, nearly an `l1` of slope 5 to 3.3. `omega: 0.5, epsilon: 0.1` shows the shape.

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is not a proper score: the best prediction is a hard mask of the voxels that are foreground
    more than half of the time.

    Range: 0 to 4.055 per voxel with the defaults. Gradient: 0 at the minimum itself, but
    omega / epsilon next to it, where the loss is steepest.
    """

    name: Literal["wing"] = "wing"
    omega: Annotated[float, Field(gt=0)] = 10.0
    """Error, in units of the target, above which the loss is linear; also its scale"""
    epsilon: Annotated[float, Field(ge=1e-6)] = 2.0
    """Width of the steep region around an error of 0; a smaller value makes it steeper"""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss per voxel, (B, K, *spatial)."""
        error = (prediction - target).abs()
        curve = self.omega * (error.clamp(max=self.omega) / self.epsilon).log1p()
        return curve + F.relu(error - self.omega)


class AdaptiveWing(BaseLoss):
    """omega ln(1 + (d / epsilon)^(alpha - y)) where d = |p - y| is below theta; A d - C beyond.

    A and C make value and slope continuous at theta:
    A = omega (alpha - y) / theta * r / (1 + r) and C = theta A - omega ln(1 + r), with
    r = (theta / epsilon)^(alpha - y).

    Source: Wang, Bo and Fuxin, ICCV 2019 (arXiv 1904.07399), there with omega 14; omega 8 is
    of Gros et al. 2020, Table 1. Without the original's weights per voxel, as in the published
    runs, which summed over the batch (`reduction: sum`).

    Minimum: 0 at prediction = target, for soft targets too (valid). For *sampled* hard labels
    it is not a proper score: the best prediction of a voxel that is foreground half of the time
    is 0.42.

    Range, with the defaults: 0 to 4.855 at y = 0, to 5.863 at y = 1, per voxel. Gradient at
    the minimum: 0, but steep next to it where y is near 1 (5.5 at d = 0.01).
    """

    name: Literal["adaptive_wing"] = "adaptive_wing"
    epsilon: Annotated[float, Field(ge=1e-6)] = 1.0
    """Width of the steep region around an error of 0; a smaller value makes it steeper"""
    alpha: Annotated[float, Field(gt=2)] = 2.1
    """Above 2, so that the exponent alpha - y stays above 1 at y = 1 and the gradient finite"""
    theta: Annotated[float, Field(gt=0)] = 0.5
    """Error, in units of the target, above which the loss is linear"""
    omega: Annotated[float, Field(gt=0)] = 8.0
    """Factor of the whole loss"""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss per voxel, (B, K, *spatial).

        With s = min(d, theta) both branches are one: omega ln(1 + (s / epsilon)^(alpha - y)),
        plus A max(d - theta, 0). So nothing overflows or is computed only to be masked out.

        Raises:
            ValueError: a target is outside [0, 1] or NaN, on a CPU. On an accelerator, where a
                check would wait for the device, the loss becomes NaN instead.
        """
        on_cpu = target.device.type == "cpu"
        if on_cpu:
            low, high = (float(bound) for bound in target.aminmax())
            if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # true for NaN
                raise ValueError(
                    f"Adaptive Wing needs targets in [0, 1], these span [{low:.6g}, {high:.6g}]; "
                    "clip them where they are made (spline interpolation of labels overshoots)"
                )
        label = target.clamp(0, 1)
        error, exponent = (prediction - label).abs(), self.alpha - label
        # the clamp makes the gradient at d = 0 zero
        small = error.clamp(torch.finfo(error.dtype).tiny, self.theta)
        # the power as the exponential of a logarithm, twice as fast as a tensor to the power of a
        # tensor; softplus is log1p of an exponential
        curve = F.softplus(exponent * (small.log() - math.log(self.epsilon)))
        fraction = torch.sigmoid(exponent * math.log(self.theta / self.epsilon))  # r / (1 + r)
        line = exponent / self.theta * fraction * F.relu(error - self.theta)
        values = self.omega * (curve + line)
        if on_cpu:
            return values
        inside = (target >= -_ROUNDING) & (target <= 1 + _ROUNDING)  # false for NaN
        return values.masked_fill(~inside, torch.nan)
