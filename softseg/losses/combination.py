"""Losses added up, each with a weight that may change over epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from softseg.core.component import Component
from softseg.losses.base import ContourLoss
from softseg.losses.family import SingleLoss
from softseg.losses.schedules import Weight, final_epoch, weight_at
from softseg.preprocess.distance_maps import KINDS


class Term(Component):
    """One loss of a combination."""

    loss: Annotated[SingleLoss, Field(discriminator="name")]
    """Any loss but another combination"""
    weight: Weight = 1.0
    """What it is multiplied with: a number, or a schedule over epochs"""

    def at(self, epoch: int) -> Self:
        """The term with the weight of an epoch, counted from 0, as a number."""
        weight = weight_at(self.weight, epoch)
        return self.model_copy(update={"loss": self.loss.at(epoch), "weight": weight})


class Combination(Component):
    """The sum of weight times loss of its terms; call it `at` an epoch if weights are schedules.

    Source of its use with contour losses: Kervadec et al., MIDL 2019 (arXiv 1812.07032): the
    generalized Dice loss with a `rebalance` weight for `regional`, `boundary` with one for
    `contour`. Their code's weights are `linear`, from 1 to 0.1 over 90 epochs, and growing from
    0.01 by 0.01 an epoch.

    Minimum: valid for soft targets if each term with a weight is; otherwise between the terms'
    own. Range and gradient: the weighted sums. Values in epochs of different weights do not
    compare.
    """

    name: Literal["combination"] = "combination"
    terms: Annotated[tuple[Term, ...], Field(json_schema_extra={"minItems": 2})]
    """Two losses or more, each `{loss: {...}, weight: ...}`"""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        # not a constraint on the field, which would count the terms without those that are wrong
        if len(self.terms) < 2:
            raise ValueError(
                f"a combination has two terms or more, not {len(self.terms)}; one loss alone is "
                "written without it"
            )
        epoch = first_without(self.terms)
        if epoch is not None:
            raise ValueError(f"all weights are 0 in epoch {epoch} (counted from 0): raise one")
        return self

    @property
    def required_maps(self) -> tuple[str, ...]:
        """The kinds of maps that its terms need, each once, in the order of `KINDS`."""
        needed = {kind for term in self.terms for kind in term.loss.required_maps}
        return tuple(kind for kind in KINDS if kind in needed)

    def at(self, epoch: int) -> Self:
        """The loss of an epoch, counted from 0: every weight is a number."""
        return self.model_copy(update={"terms": tuple(term.at(epoch) for term in self.terms)})

    def __call__(
        self, prediction: Tensor, target: Tensor, maps: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """The loss of a prediction and a target, both (B, K, H, W) in [0, 1]: a scalar.

        A term of weight 0 is not computed.

        Args:
            prediction: soft, what the head makes.
            target: soft or hard.
            maps: (B, K, H, W) of each kind in `required_maps`.

        Raises:
            ValueError: a weight is a schedule, a map is missing, or shapes differ.
        """
        weighted = [(_number(term.weight), term.loss) for term in self.terms]
        parts = [weight * loss(prediction, target, maps) for weight, loss in weighted if weight > 0]
        return torch.stack(parts).sum()


def contour_only(loss: SingleLoss | Combination) -> bool:
    """Whether in some epoch nothing but contour losses has a weight above 0."""
    if isinstance(loss, Combination):
        others = [term for term in loss.terms if not isinstance(term.loss, ContourLoss)]
        return first_without(others) is not None
    return isinstance(loss, ContourLoss)


def first_without(terms: Iterable[Term]) -> int | None:
    """The first epoch that is known to have no weight above 0 in any of the terms; or None."""
    weights = [term.weight for term in terms]
    epochs = sorted({0, *map(final_epoch, weights)})
    silent = (e for e in epochs if not any(weight_at(weight, e) > 0 for weight in weights))
    return next(silent, None)


def _number(weight: Weight) -> float:
    if isinstance(weight, int | float):
        return weight
    raise ValueError(f"a {weight.name} weight changes over epochs: call loss.at(epoch)(...)")
