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

    Soft values come easily, because nothing pulls them to 0 or 1, and the largest is always 1.
    Where no activation is positive the output is 0 and no gradient flows: it is dead. A
    positive `bias` keeps a young network from dying.
    """

    name: Literal["normrelu"] = "normrelu"
    scope: Scope = "batch"
    """Training divides by the maximum over the batch (the paper's) or over each sample; \
validation and inference by that over everything given at once, a whole volume; `running` trains \
as `batch` and predicts with the average of the training maxima, for volumes that may be empty"""
    bias: float | None = None
    """Initial output bias, in units of the activation; null: random, as the paper"""
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Weight of the newest maximum in the average of `running`; as batch norm's, so that both \
describe the same recent steps"""

    def initial_bias(self) -> float | None:
        """The value the model's last convolution's bias starts at; None leaves it random."""
        return self.bias

    def __call__(self, targets: int = 1) -> nn.Module:
        """The module for K = `targets` outputs: logits (B, K, H, W) -> [0, 1]."""
        return NormReluHead(self.scope, self.momentum, targets)


class NormReluHead(nn.Module):
    """Divides by a maximum per target; in `eval()` give it all slices of a volume at once.

    The gradient flows through the maximum, as published. A logit of +inf becomes 1 and its
    target's finite ones 0; a NaN stays NaN, so that a training that diverged is seen.
    """

    def __init__(self, scope: Scope = "batch", momentum: float = 0.1, targets: int = 1) -> None:
        super().__init__()
        self.scope = scope
        self.scale = RunningMaximum(momentum, targets) if scope == "running" else None

    def forward(self, logits: Tensor) -> Tensor:
        """Logits (B, K, H, W) -> prediction of the same shape, float32 (float64 stays).

        Raises:
            ValueError: a running scale made for another number of targets.
        """
        if not self.training:
            return self.soft_at(logits, self.divisor(logits))
        positive = _positive(logits)
        axes = (2, 3) if self.scope == "sample" else (0, 2, 3)
        peak = positive.amax(dim=axes, keepdim=True)
        if self.scale is not None:
            self.scale.update(peak.detach())
        return positive / _alive(peak)

    def divisor(self, logits: Tensor) -> Tensor:
        """(1, K, 1, 1): what the logits (S, K, H, W) of a whole volume are divided by."""
        positive = _positive(logits)
        if self.scale is not None:
            return self.scale.as_divisor(positive)
        return _alive(positive.amax(dim=(0, 2, 3), keepdim=True))

    def soft_at(self, logits: Tensor, divisor: Tensor) -> Tensor:
        """Logits (B, K, H, W) -> [0, 1] at a scale that others set; 1 where they exceed it.

        Of several passes over a volume each would have a maximum of its own: divided by that,
        their largest value would always be 1, and all of a pass would follow its one peak.
        """
        return (_positive(logits) / divisor).clamp(max=1)


def _positive(logits: Tensor) -> Tensor:
    """The finite activations, float32 (float64 stays)."""
    values = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.relu(values).clamp(max=torch.finfo(values.dtype).max)


def _alive(peak: Tensor) -> Tensor:
    """Below the smallest normal number 1 / peak overflows: such an output counts as dead."""
    return peak.masked_fill(peak < torch.finfo(peak.dtype).tiny, 1)


class RunningMaximum(nn.Module):
    """The exponential average of the training maxima, (K,); 1 until a positive one was seen."""

    maximum: Tensor
    seen: Tensor

    def __init__(self, momentum: float, targets: int) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("maximum", torch.ones(targets))
        self.register_buffer("seen", torch.zeros(targets, dtype=torch.bool))

    def update(self, peak: Tensor) -> None:
        """Takes in a batch's maxima (1, K, 1, 1); a dead or infinite one is passed over."""
        self._check(peak)
        limits = torch.finfo(peak.dtype)
        latest = peak.flatten().to(self.maximum.dtype)
        usable = (latest >= limits.tiny) & (latest < limits.max)
        average = torch.where(self.seen, self.maximum.lerp(latest, self.momentum), latest)
        self.maximum.copy_(torch.where(usable, average, self.maximum))
        self.seen.logical_or_(usable)

    def as_divisor(self, positive: Tensor) -> Tensor:
        """The scale as (1, K, 1, 1), in the type of the activations (B, K, H, W)."""
        self._check(positive)
        return self.maximum.to(positive.dtype).view(1, -1, 1, 1)

    def _check(self, values: Tensor) -> None:
        made_for, given = len(self.maximum), values.shape[1]
        if made_for != given:  # one maximum would be broadcast over all targets
            raise ValueError(
                f"a running NormReLU made for {made_for} targets was given {given}: "
                f"heads.build(spec, targets={given})"
            )


def is_dead(output: Tensor) -> Tensor:
    """Which targets of a head's output (B, K, H, W) are zero everywhere: (K,) bool.

    Stays on the output's device: add it up there and read the sum once an epoch.
    """
    values = output.detach()
    return values.amax(dim=(0, 2, 3)) < torch.finfo(values.dtype).tiny
