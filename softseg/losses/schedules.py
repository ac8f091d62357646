"""Weights of the terms of a combination: numbers, or schedules over epochs, counted from 0."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from softseg.core.component import Component

Number = Annotated[float, Field(ge=0)]
Epoch = Annotated[int, Field(ge=0)]


class ConstantWeight(Component):
    """The same weight in every epoch, like a plain number."""

    name: Literal["constant"] = "constant"
    value: Number
    """The weight"""

    def at(self, epoch: int) -> float:  # noqa: ARG002
        """Return the weight of an epoch."""
        return self.value

    @property
    def final_epoch(self) -> int:
        """The epoch from which the weight does not change any more."""
        return 0


class LinearWeight(Component):
    """A weight that goes from `start` to `stop` in equal steps; constant before and after."""

    name: Literal["linear"] = "linear"
    first: Epoch
    """Epoch, counted from 0, up to which the weight is `start`"""
    last: Epoch
    """Epoch from which it is `stop`; the same as `first` for a jump there"""
    start: Number
    """Weight up to `first`"""
    stop: Number
    """Weight from `last`"""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        """Reject a schedule that ends before it begins."""
        if self.last < self.first:
            raise ValueError(
                f"a linear weight ends (last: {self.last}) before it begins "
                f"(first: {self.first}); for a falling weight swap start and stop instead"
            )
        return self

    def at(self, epoch: int) -> float:
        """Return the weight of an epoch."""
        if epoch >= self.last:
            return self.stop
        if epoch <= self.first:
            return self.start
        share = (epoch - self.first) / (self.last - self.first)
        return (1 - share) * self.start + share * self.stop

    @property
    def final_epoch(self) -> int:
        """The epoch from which the weight does not change any more."""
        return self.last


class RebalanceWeight(Component):
    """The boundary loss paper's schedule: alpha of the regional loss, 1 - alpha of the contour's.

    alpha = max(floor, 1 - step epoch). Source: Kervadec et al., MIDL 2019 (arXiv 1812.07032).
    """

    # Their code differs: alpha stops at 0.1, and the contour's weight begins at 0.01 and keeps
    # growing by 0.01 an epoch. Two `linear` weights express that, up to some last epoch.

    name: Literal["rebalance"] = "rebalance"
    role: Literal["regional", "contour"]
    """Which of the two weights: `regional` falls from 1, `contour` grows from 0"""
    step: Annotated[float, Field(ge=1e-6, le=1)] = 0.01
    """Decrease of alpha in each epoch"""
    floor: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Smallest alpha"""

    def at(self, epoch: int) -> float:
        """Return the weight of an epoch."""
        alpha = self.floor if epoch >= self.final_epoch else 1 - self.step * epoch
        return alpha if self.role == "regional" else 1 - alpha

    @property
    def final_epoch(self) -> int:
        """The epoch from which the weight does not change any more."""
        # minus a margin, as rounding may leave slightly more than a whole number of steps
        return math.ceil((1 - self.floor) / self.step - 1e-9)


Schedule = Annotated[ConstantWeight | LinearWeight | RebalanceWeight, Field(discriminator="name")]
Weight = Number | Schedule


def weight_at(weight: Weight, epoch: int) -> float:
    """Return the weight of an epoch, counted from 0; at least 0."""
    return weight if isinstance(weight, int | float) else weight.at(epoch)


def final_epoch(weight: Weight) -> int:
    """Return the epoch from which a weight does not change any more; 0 for a number."""
    return 0 if isinstance(weight, int | float) else weight.final_epoch
