"""The schedules of the learning rate that `trainer.schedule` chooses from, and their warm-up."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    PolynomialLR,
    SequentialLR,
)

from softseg.core.component import Component


class Cosine(Component):
    """Cosine annealing of the learning rate, a step per epoch (Gros et al. 2020, section 2.3.6).

    Epoch e of N (counted from 0) has the rate m + (r - m) (1 + cos(pi e / N)) / 2, where r is
    `learning_rate` and m the `minimum`.

    Example: `schedule: {name: cosine, minimum: 1.0e-5}`
    """

    spans_max_epochs: ClassVar[bool] = True

    name: Literal["cosine"] = "cosine"
    minimum: Annotated[float, Field(ge=0)] = 0.0
    """Learning rate at `max_epochs`; training that stops earlier does not reach it."""

    def __call__(self, optimizer: Optimizer, epochs: int) -> LRScheduler:
        """Return the schedule of a number of epochs."""
        return CosineAnnealingLR(optimizer, T_max=epochs, eta_min=self.minimum)


class Poly(Component):
    """Polynomial decay of the learning rate to 0, a step per epoch, as in nnU-Net.

    Epoch e of N (counted from 0) has the rate r (1 - e / N)^power, where r is `learning_rate`.

    Example: `schedule: {name: poly, power: 0.9}`
    """

    spans_max_epochs: ClassVar[bool] = True

    name: Literal["poly"] = "poly"
    power: Annotated[float, Field(gt=0)] = 0.9
    """Exponent; 1 is a straight line."""

    def __call__(self, optimizer: Optimizer, epochs: int) -> LRScheduler:
        """Return the schedule of a number of epochs."""
        return PolynomialLR(optimizer, total_iters=epochs, power=self.power)


class Constant(Component):
    """The same learning rate throughout."""

    spans_max_epochs: ClassVar[bool] = False

    name: Literal["constant"] = "constant"

    def __call__(self, optimizer: Optimizer, epochs: int) -> LRScheduler:  # noqa: ARG002
        """Return the schedule of a number of epochs."""
        return ConstantLR(optimizer, factor=1.0)


Schedule = Annotated[Cosine | Poly | Constant, Field(discriminator="name")]


def with_warm_up(
    schedule: Cosine | Poly | Constant, optimizer: Optimizer, max_epochs: int, warm_up: int
) -> LRScheduler:
    """Return the learning rates of a run: `warm_up` epochs of linear increase, then the schedule.

    Epoch e of the W epochs to warm up (counted from 0) has the fraction (e + 1) / (W + 1) of the
    learning rate; the schedule begins with the whole of it in epoch W and spans the epochs that
    are left.
    """
    if warm_up == 0:
        return schedule(optimizer, max_epochs)
    increase = LinearLR(optimizer, start_factor=1 / (warm_up + 1), total_iters=warm_up)
    rest = schedule(optimizer, max_epochs - warm_up)
    return SequentialLR(optimizer, [increase, rest], milestones=[warm_up])
