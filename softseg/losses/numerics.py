"""Logarithms and powers whose values and gradients are finite on all of [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def log(values: Tensor, epsilon: float) -> Tensor:
    """ln(x), and below epsilon its tangent there, ln(epsilon) + x / epsilon - 1.

    A clamped logarithm has no gradient where the prediction is most wrong, ln(x + epsilon) is
    wrong everywhere; the tangent goes on with a gradient of 1 / epsilon. At 0: ln(epsilon) - 1.
    """
    return values.clamp(min=epsilon).log() - F.relu(epsilon - values) / epsilon


def power(values: Tensor, exponent: float) -> Tensor:
    """x^exponent for x of 0 or above and an exponent above 0, with a finite gradient at 0.

    Below the resolution of the type (1.2e-7 for float32) it is the line to the origin, since
    the gradient of a power below 1 is infinite at 0, and NaN after the chain rule.
    """
    floor = torch.finfo(values.dtype).eps
    return values.clamp(min=floor) ** exponent * (values / floor).clamp(max=1)
