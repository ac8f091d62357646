"""The conventional head: one logistic function per voxel and target."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from softseg.core.component import Component


class Sigmoid(Component):
    """The logistic function, each target on its own.

    With the Adaptive Wing loss a network that starts at sigmoid(0) = 0.5 everywhere learns to
    push the background down and stalls there; a bias or a prior starts it at the background.
    """

    name: Literal["sigmoid"] = "sigmoid"
    bias: float | None = None
    """Initial output bias in logits (-4 starts every voxel at 0.018); null: random, as the paper"""
    prior: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of foreground voxels, 0 to 1, at which every voxel starts; another way to say `bias`"""

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.bias is not None and self.prior is not None:
            raise ValueError("give a bias or a prior, not both: the prior sets the bias")
        return self

    def initial_bias(self) -> float | None:
        """The value the model's last convolution's bias starts at; None leaves it random."""
        if self.prior is None:
            return self.bias
        return math.log(self.prior / (1 - self.prior))

    def __call__(self, targets: int = 1) -> nn.Module:  # noqa: ARG002 (every head is told)
        """The module: logits (B, K, H, W) -> (0, 1)."""
        return SigmoidHead()


class SigmoidHead(nn.Module):
    """The logistic function in float32, whatever the type of the logits."""

    def forward(self, logits: Tensor) -> Tensor:
        """Logits (B, K, H, W) -> prediction of the same shape."""
        return torch.sigmoid(logits.to(torch.promote_types(logits.dtype, torch.float32)))

    def divisor(self, logits: Tensor) -> Tensor:
        """(1, K, 1, 1): ones, as nothing is divided here; a NormReLU has a scale."""
        return torch.ones((1, logits.shape[1], 1, 1), device=logits.device)

    def soft_at(self, logits: Tensor, divisor: Tensor) -> Tensor:  # noqa: ARG002 (for NormReLU)
        """The same as a call: what others are divided by does not matter."""
        soft: Tensor = self(logits)
        return soft
