"""NormReLU, the head of SoftSeg: a ReLU divided by its maximum."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from softseg.core.component import Component

Scope = Literal["batch", "sample", "running"]


class NormRelu(Component):
    """relu(x) / max(relu(x)), one maximum per target (Gros et al. 2020, section 2.1.2).

    Soft values are easy to learn, because nothing pulls them to 0 or 1; the largest is always 1.
    Where no activation is positive the output is 0 and no gradient flows: it is dead. A
    positive `bias` keeps an untrained network from dying.
    """

    name: Literal["normrelu"] = "normrelu"
    scope: Scope = "batch"
    """Training divides by the maximum over the batch (the paper's) or over each sample; \
validation and inference by the maximum over the whole volume; `running` trains like `batch` and \
predicts with the average of the training maxima, for volumes that may be empty"""
    bias: float | None = None
    """Initial output bias, in units of the activation; null: random, as in the paper"""
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Weight of the newest maximum in the average of `running`; the same as batch norm's, so that \
both describe the same recent steps"""

    def initial_bias(self) -> float | None:
        """Return the initial bias of the model's last convolution; None leaves it random."""
        return self.bias

    def __call__(self, targets: int = 1) -> nn.Module:
        """Create the module for K = `targets` outputs: logits (B, K, H, W) -> [0, 1]."""
        return NormReluHead(self.scope, self.momentum, targets)


class NormReluHead(nn.Module):
    """Divides by a maximum per target; in `eval()` call it with all slices of a volume at once.

    The gradient flows through the maximum, as in the paper. A logit of +inf becomes 1 and its
    target's finite logits 0; NaN stays NaN, so that a diverged training is noticed.
    """

    def __init__(self, scope: Scope = "batch", momentum: float = 0.1, targets: int = 1) -> None:
        super().__init__()
        self.scope = scope
        self.scale = RunningMaximum(momentum, targets) if scope == "running" else None

    def forward(self, logits: Tensor) -> Tensor:
        """Return the prediction of logits (B, K, H, W), same shape, float32 (float64 stays).

        Raises:
            ValueError: a running scale made for another number of targets.
        """
        if not self.training:
            return self.forward_with_divisor(logits, self.divisor(logits))
        positive = _positive(logits)
        axes = (2, 3) if self.scope == "sample" else (0, 2, 3)
        peak = positive.amax(dim=axes, keepdim=True)
        if self.scale is not None:
            self.scale.update(peak.detach())
        return positive / _nonzero(peak)

    def divisor(self, logits: Tensor) -> Tensor:
        """Return the divisor (1, K, 1, 1) for the logits (S, K, H, W) of a whole volume."""
        positive = _positive(logits)
        if self.scale is not None:
            return self.scale.as_divisor(positive)
        return _nonzero(positive.amax(dim=(0, 2, 3), keepdim=True))

    def forward_with_divisor(self, logits: Tensor, divisor: Tensor) -> Tensor:
        """Return the prediction of logits (B, K, H, W) for a given divisor; 1 where they exceed it.

        Several passes over a volume share a divisor: divided by its own maximum, the largest value
        of each pass would always be 1, and the whole pass would follow that single peak.
        """
        return (_positive(logits) / divisor).clamp(max=1)


def _positive(logits: Tensor) -> Tensor:
    """Return the ReLU of the logits, made finite, in float32 (float64 stays)."""
    values = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.relu(values).clamp(max=torch.finfo(values.dtype).max)


def _nonzero(peak: Tensor) -> Tensor:
    """Replace maxima of dead outputs by 1; below the smallest normal number 1 / peak overflows."""
    return peak.masked_fill(peak < torch.finfo(peak.dtype).tiny, 1)


class RunningMaximum(nn.Module):
    """Exponential average of the training maxima, (K,); 1 until the first positive one."""

    maximum: Tensor
    seen: Tensor

    def __init__(self, momentum: float, targets: int) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("maximum", torch.ones(targets))
        self.register_buffer("seen", torch.zeros(targets, dtype=torch.bool))

    def update(self, peak: Tensor) -> None:
        """Update the average with a batch's maxima (1, K, 1, 1); skip dead or infinite ones."""
        self._check_targets(peak)
        limits = torch.finfo(peak.dtype)
        latest = peak.flatten().to(self.maximum.dtype)
        usable = (latest >= limits.tiny) & (latest < limits.max)
        average = torch.where(self.seen, self.maximum.lerp(latest, self.momentum), latest)
        self.maximum.copy_(torch.where(usable, average, self.maximum))
        self.seen.logical_or_(usable)

    def as_divisor(self, positive: Tensor) -> Tensor:
        """Return the average as (1, K, 1, 1), in the type of the activations (B, K, H, W)."""
        self._check_targets(positive)
        return self.maximum.to(positive.dtype).view(1, -1, 1, 1)

    def _check_targets(self, values: Tensor) -> None:
        """Raise ValueError for values of another number of targets."""
        expected, targets = len(self.maximum), values.shape[1]
        if expected != targets:  # one maximum would be broadcast over all targets
            raise ValueError(
                f"a running NormReLU made for {expected} targets was given {targets}; "
                f"make it with heads.build(spec, targets={targets})"
            )


def is_dead(output: Tensor) -> Tensor:
    """Return which targets of a head's output (B, K, H, W) are zero everywhere: (K,) bool.

    The result stays on the output's device, so that a sum can be read once per epoch.
    """
    values = output.detach()
    return values.amax(dim=(0, 2, 3)) < torch.finfo(values.dtype).tiny
