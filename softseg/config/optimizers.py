"""The optimizers that `trainer.optimizer` chooses from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.optim import Optimizer

from softseg.core.component import Component

_WeightDecay = Annotated[float, Field(ge=0)]


class Adam(Component):
    """Adam with PyTorch's defaults (Kingma and Ba 2015), as in the paper of SoftSeg.

    Example: `optimizer: {name: adam}`
    """

    moments: ClassVar[int] = 2  # tensors of a weight's size that it keeps

    name: Literal["adam"] = "adam"

    def __call__(
        self, parameters: Sequence[nn.Parameter], rate: float, fused: bool | None
    ) -> Optimizer:
        """Return the optimizer of a run; `fused`: one kernel for all. None: torch's choice."""
        return torch.optim.Adam(parameters, lr=rate, fused=fused)


class AdamW(Component):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    Example: `optimizer: {name: adamw, weight_decay: 0.01}`
    """

    moments: ClassVar[int] = 2

    name: Literal["adamw"] = "adamw"
    weight_decay: _WeightDecay = 0.01
    """Fraction of each weight, times the learning rate, by which an update shrinks it. It applies
    to all weights that train, norms and biases included, as in nnU-Net and torch."""

    def __call__(
        self, parameters: Sequence[nn.Parameter], rate: float, fused: bool | None
    ) -> Optimizer:
        """Return the optimizer of a run; see `Adam`."""
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=self.weight_decay, fused=fused)


class Sgd(Component):
    """Stochastic gradient descent with momentum; the defaults are those of nnU-Net.

    It needs a larger learning rate than Adam: nnU-Net's is 0.01, with the schedule poly and
    `clip_gradient: 12`.

    Example: `optimizer: {name: sgd, momentum: 0.99, nesterov: true, weight_decay: 3.0e-5}`
    """

    moments: ClassVar[int] = 1

    name: Literal["sgd"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Weight of the earlier updates in the next one."""
    nesterov: bool = True
    """Whether the gradient is that of the point to which the momentum leads (Nesterov)."""
    weight_decay: _WeightDecay = 3e-5
    """Fraction of each weight that is added to its gradient. It applies to all weights that train,
    norms and biases included, as in nnU-Net."""

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: true needs a momentum above 0; set nesterov: false")
        return self

    def __call__(
        self, parameters: Sequence[nn.Parameter], rate: float, fused: bool | None
    ) -> Optimizer:
        """Return the optimizer of a run; see `Adam`."""
        return torch.optim.SGD(
            parameters,
            lr=rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            fused=fused,
        )


OptimizerSpec = Annotated[Adam | AdamW | Sgd, Field(discriminator="name")]
