"""Weights of the terms of a combination: numbers, or schedules over epochs, counted from 0."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from softseg.core.component import Component

Number = Annotated[float, Field(ge=0)]
Epoch = Annotated[int, Field(ge=0)]


class ConstantWeight(Component):
    """The same weight in every epoch, as a number alone."""

    name: Literal["constant"] = "constant"
    value: Number
    """The weight"""

    def at(self, epoch: int) -> float:  # noqa: ARG002
        """The weight of an epoch."""
        return self.value

    @property
    def final_epoch(self) -> int:
        """The first epoch of the weight that it keeps from then on."""
        return 0


class LinearWeight(Component):
    """A weight that goes from `start` to `stop` in equal steps; before and after, it stands."""

    name: Literal["linear"] = "linear"
    first: Epoch
    """Epoch, counted from 0, up to which the weight is `start`"""
    last: Epoch
    """Epoch from which on it is `stop`; the same as `first` for a jump there"""
    start: Number
    """The weight at first"""
    stop: Number
    """The weight at last"""

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.last < self.first:
            raise ValueError(
                f"a linear weight ends (last: {self.last}) before it begins "
                f"(first: {self.first}); for a falling weight swap start and stop instead"
            )
        return self

    def at(self, epoch: int) -> float:
        """The weight of an epoch."""
        if epoch >= self.last:
            return self.stop
        if epoch <= self.first:
            return self.start
        share = (epoch - self.first) / (self.last - self.first)
        return (1 - share) * self.start + share * self.stop

    @property
    def final_epoch(self) -> int:
        """The first epoch of the weight that it keeps from then on."""
        return self.last


class RebalanceWeight(Component):
    """The boundary loss paper's schedule: alpha of the regional loss, 1 - alpha of the contour's.

    alpha = max(floor, 1 - step epoch). Source: Kervadec et al., MIDL 2019 (arXiv 1812.07032).
    """

    # Their code is another: alpha stops at 0.1, and the contour's weight begins at 0.01 and keeps
    # growing by 0.01 an epoch. Two `linear` weights say that, up to some last epoch.

    name: Literal["rebalance"] = "rebalance"
    role: Literal["regional", "contour"]
    """Which of the two weights: that which falls from 1, or that which grows from 0"""
    step: Annotated[float, Field(ge=1e-6, le=1)] = 0.01
    """By how much alpha falls each epoch"""
    floor: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Where alpha stops"""

    def at(self, epoch: int) -> float:
        """The weight of an epoch."""
        alpha = self.floor if epoch >= self.final_epoch else 1 - self.step * epoch
        return alpha if self.role == "regional" else 1 - alpha

    @property
    def final_epoch(self) -> int:
        """The first epoch of the weight that it keeps from then on."""
        # less what rounding may leave of a whole number of steps
        return math.ceil((1 - self.floor) / self.step - 1e-9)


Schedule = Annotated[ConstantWeight | LinearWeight | RebalanceWeight, Field(discriminator="name")]
Weight = Number | Schedule


def weight_at(weight: Weight, epoch: int) -> float:
    """The weight of an epoch, counted from 0; at least 0."""
    return weight if isinstance(weight, int | float) else weight.at(epoch)


def final_epoch(weight: Weight) -> int:
    """The epoch from which on a weight is the same.

    A schedule goes from one weight to another and stays there. So it is 0 up to some epoch, from
    its final epoch on, or both; and weights that are all 0 in one epoch are so in epoch 0 or in
    the final epoch of one of them.
    """
    return 0 if isinstance(weight, int | float) else weight.final_epoch
