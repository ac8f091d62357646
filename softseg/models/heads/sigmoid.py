"""The sigmoid head: one logistic function per voxel and target."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from softseg.core.component import Component


class Sigmoid(Component):
    """The logistic function, for each target separately.

    With the Adaptive Wing loss a network that starts at sigmoid(0) = 0.5 everywhere learns to
    push the background down and stalls there; with a bias or a prior it starts at the background.
    """

    name: Literal["sigmoid"] = "sigmoid"
    bias: float | None = None
    """Initial output bias in logits (-4 starts every voxel at 0.018); null: random, as in the \
paper"""
    prior: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of foreground voxels, 0 to 1, at which every voxel starts; an alternative to `bias`"""

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        """Reject a bias next to a prior."""
        if self.bias is not None and self.prior is not None:
            raise ValueError("give a bias or a prior, not both: the prior sets the bias")
        return self

    def initial_bias(self) -> float | None:
        """Return the initial bias of the model's last convolution; None leaves it random."""
        if self.prior is None:
            return self.bias
        return math.log(self.prior / (1 - self.prior))

    def __call__(self, targets: int = 1) -> nn.Module:  # noqa: ARG002 - as every head
        """Create the module: logits (B, K, H, W) -> (0, 1)."""
        return SigmoidHead()


class SigmoidHead(nn.Module):
    """The logistic function in float32 (float64 stays)."""

    def forward(self, logits: Tensor) -> Tensor:
        """Return the prediction of logits (B, K, H, W), same shape."""
        return torch.sigmoid(logits.to(torch.promote_types(logits.dtype, torch.float32)))

    def divisor(self, logits: Tensor) -> Tensor:
        """Return ones (1, K, 1, 1): only a NormReLU divides."""
        return torch.ones((1, logits.shape[1], 1, 1), device=logits.device)

    def forward_with_divisor(self, logits: Tensor, divisor: Tensor) -> Tensor:  # noqa: ARG002
        """Return the prediction; the divisor, which a NormReLU needs, has no effect."""
        return self.forward(logits)
