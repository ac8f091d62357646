"""Weighted sum of losses, with weights that may change over epochs, counted from 0."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from softseg.core.component import Component
from softseg.losses.base import BatchCount, ContourLoss
from softseg.losses.family import SingleLoss
from softseg.preprocess.distance_maps import KINDS

Number = Annotated[float, Field(ge=0)]
Epoch = Annotated[int, Field(ge=0)]


class ConstantWeight(Component):
    """A constant weight, the same as a number. Example: `weight: {name: constant, value: 0.5}`"""

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
    """A weight that goes from `start` to `stop` in equal steps; constant before and after.

    Example: `weight: {name: linear, first: 10, last: 50, start: 1, stop: 0.1}`
    """

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
        progress = (epoch - self.first) / (self.last - self.first)
        return (1 - progress) * self.start + progress * self.stop

    @property
    def final_epoch(self) -> int:
        """The epoch from which the weight does not change any more."""
        return self.last


class RebalanceWeight(Component):
    """The boundary loss paper's schedule: alpha of the regional loss, 1 - alpha of the contour's.

    alpha = max(floor, 1 - step epoch). Source: Kervadec et al., MIDL 2019 (arXiv 1812.07032).
    Example: `weight: {name: rebalance, role: contour}`
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


class Term(Component):
    """One loss of a combination."""

    loss: Annotated[SingleLoss, Field(discriminator="name")]
    """Any loss but another combination"""
    weight: Weight = 1.0
    """Factor of the loss: a number, or a schedule over epochs"""

    def at(self, epoch: int) -> Self:
        """Return the term with its weight in an epoch, counted from 0, as a number."""
        weight = weight_at(self.weight, epoch)
        return self.model_copy(update={"loss": self.loss.at(epoch), "weight": weight})


class Combination(Component):
    """The sum of weight times loss of its terms; call `at(epoch)` first if weights are schedules.

    Source of its use with contour losses: Kervadec et al., MIDL 2019 (arXiv 1812.07032): the
    generalized Dice loss with a `rebalance` weight for `regional`, `boundary` with one for
    `contour`. Their code's weights are `linear`, from 1 to 0.1 over 90 epochs, and growing from
    0.01 by 0.01 an epoch.

    Minimum: valid for soft targets if each term with a weight is; otherwise between the terms'
    own. Range and gradient: the weighted sums. Values in epochs of different weights are
    not comparable.

    Example: `loss: {name: combination, terms: [{loss: {name: dice}, weight: 0.5},
    {loss: {name: boundary}, weight: 0.01}]}`
    """

    name: Literal["combination"] = "combination"
    terms: Annotated[tuple[Term, ...], Field(json_schema_extra={"minItems": 2})]
    """Two losses or more, each `{loss: {...}, weight: ...}`"""

    @model_validator(mode="after")
    def _check_terms(self) -> Self:
        """Reject fewer than two terms, and epochs in which no term has a weight."""
        # not a constraint on the field, which would count only the terms that are valid
        if len(self.terms) < 2:
            raise ValueError(
                f"a combination has two terms or more, not {len(self.terms)}; write a single loss "
                "without it"
            )
        epoch = first_epoch_without_weight(self.terms)
        if epoch is not None:
            raise ValueError(
                f"all weights are 0 in epoch {epoch} (counted from 0): raise one of them"
            )
        return self

    @property
    def required_maps(self) -> tuple[str, ...]:
        """The kinds of maps that its terms need, each once, in the order of `KINDS`."""
        needed = {kind for term in self.terms for kind in term.loss.required_maps}
        return tuple(kind for kind in KINDS if kind in needed)

    def at(self, epoch: int) -> Self:
        """Return the loss of an epoch, counted from 0: every weight is a number."""
        return self.model_copy(update={"terms": tuple(term.at(epoch) for term in self.terms)})

    def __call__(
        self,
        prediction: Tensor,
        target: Tensor,
        maps: Mapping[str, Tensor] | None = None,
        ignore: Tensor | None = None,
        batch_count: BatchCount | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss as `BaseLoss` does; a term of weight 0 is not computed.

        Raises:
            ValueError: a weight is a schedule, a map is missing, or shapes differ.
        """
        weighted = []
        for term in self.terms:
            if not isinstance(term.weight, int | float):
                raise ValueError(
                    f"a {term.weight.name} weight changes over epochs; call loss.at(epoch)(...)"
                )
            if term.weight > 0:
                value = term.loss(prediction, target, maps, ignore, batch_count, weight)
                weighted.append(term.weight * value)
        return torch.stack(weighted).sum()


def weight_at(weight: Weight, epoch: int) -> float:
    """Return the weight of an epoch, counted from 0; at least 0."""
    return weight if isinstance(weight, int | float) else weight.at(epoch)


def final_epoch(weight: Weight) -> int:
    """Return the epoch from which a weight does not change any more; 0 for a number."""
    return 0 if isinstance(weight, int | float) else weight.final_epoch


def contour_only(loss: SingleLoss | Combination) -> bool:
    """Return whether in some epoch only contour losses have a weight above 0."""
    if isinstance(loss, Combination):
        others = [term for term in loss.terms if not isinstance(term.loss, ContourLoss)]
        return first_epoch_without_weight(others) is not None
    return isinstance(loss, ContourLoss)


def contour_losses(loss: SingleLoss | Combination) -> list[str]:
    """Return the names of the contour losses that a loss is or has among its terms."""
    single = [term.loss for term in loss.terms] if isinstance(loss, Combination) else [loss]
    return [part.name for part in single if isinstance(part, ContourLoss)]


def first_epoch_without_weight(terms: Iterable[Term]) -> int | None:
    """Return an epoch in which no term has a weight above 0, the first that is examined; or None.

    Only epoch 0 and the final epochs of the weights have to be examined: a schedule goes from one
    weight to another and stays there, so it is 0 up to some epoch, from its final epoch on, or
    both; if all weights are 0 in any epoch, they are in one of those.
    """
    weights = [term.weight for term in terms]
    for epoch in sorted({0, *map(final_epoch, weights)}):
        if not any(weight_at(weight, epoch) > 0 for weight in weights):
            return epoch
    return None
