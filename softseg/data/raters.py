"""Several raters' masks of one structure fused into the one that is learned."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from softseg.core.component import Component
from softseg.core.errors import UserError
from softseg.core.names import did_you_mean, listing, natural_key
from softseg.core.types import Float32Array, Float64Array
from softseg.data.staple import staple

_FUSIONS = ("majority", "mean", "staple", "random")


class Raters(Component):
    """How masks of several raters become one; a single mask stays as it is, soft."""

    fusion: str | int = "majority"
    """majority (1 where more than half of the raters have at least 0.5; exactly half is
    background) | mean (soft where raters disagree) | staple (the probability that STAPLE
    estimates, soft) | random (in training one rater, drawn anew for each slice and epoch, the
    same for all targets; else the mean) | the name of one rater."""
    weights: dict[str, Annotated[float, Field(ge=0)]] | None = None
    """Weight of each rater in `majority` and `mean` (SoftSeg 4.4.2), such as years of experience;
    raters not listed have weight 1. null: equal weights."""
    required: (
        Annotated[tuple[str | int, ...], Field(min_length=1)] | Annotated[int, Field(ge=1)] | None
    ) = None
    """Raters whose masks every target of every subject must have: their names, or how many at
    least. A subject that lacks one is an error. null: subjects may differ; a warning says so."""

    @model_validator(mode="after")
    def _weights_count(self) -> Self:
        if self.weights is not None and self.fusion not in ("majority", "mean"):
            raise ValueError("weights: count in fusion: majority and mean only; set them to null")
        return self

    @property
    def chosen(self) -> str | None:
        """The one rater whose masks are used, or None when masks are fused."""
        return None if self.fusion in _FUSIONS else str(self.fusion)

    def missing(self, raters: Collection[str]) -> str | None:
        """What is wrong, when the chosen rater is not among these."""
        if self.chosen is None:
            return None
        return _no_rater(self.chosen, raters, f"{', '.join(_FUSIONS)} and ", _FUSIONS)

    def unknown(self, raters: Collection[str]) -> str | None:
        """What is wrong, when a key names somebody who is not among these, all raters there are."""
        wrong = self.missing(raters)
        if wrong:
            return f"dataset.raters.fusion: {wrong}"
        for key, names in (("weights", self.weights or ()), ("required", self._required_names)):
            for name in names:
                if wrong := _no_rater(name, raters):
                    return f"dataset.raters.{key}: {wrong}"
        return None

    def lacking(self, raters: Collection[str]) -> list[str]:
        """Raters that are required by name and are not among these."""
        return [name for name in self._required_names if name not in raters]

    def too_few(self, raters: Collection[str]) -> bool:
        """Whether these are fewer than the number that is expected."""
        return isinstance(self.required, int) and len(raters) < self.required

    @property
    def _required_names(self) -> tuple[str, ...]:
        return tuple(map(str, self.required)) if isinstance(self.required, tuple) else ()

    def __call__(self, masks: Mapping[str, Float32Array]) -> Float32Array:
        """Fuse rater -> mask (X, Y, Z) in [0, 1] into one, float32 in [0, 1], on the native grid.

        Raises UserError for a chosen rater who is not there, and where all weights are 0.
        """
        wrong = self.missing(masks)
        if wrong:
            raise UserError(f"dataset.raters.fusion: {wrong}")
        if self.chosen is not None:
            return masks[self.chosen]
        names = sorted(masks, key=natural_key)
        stack: Float32Array = np.stack([masks[name] for name in names])
        if len(stack) == 1:
            return masks[names[0]]
        if self.fusion == "staple":
            return staple(stack)
        weights = self._weights(names)
        if self.fusion in ("mean", "random"):
            return np.asarray(np.tensordot(weights, stack, axes=1), dtype=np.float32)
        votes = np.tensordot(weights, (stack >= 0.5).astype(np.float64), axes=1)
        # weights are rounded: half of them is not quite a half
        return np.asarray(votes > 0.5 + 1e-9, dtype=np.float32)

    def _weights(self, names: Sequence[str]) -> Float64Array:
        """Each rater's share of all words."""
        given = self.weights or {}
        weights = np.array([given.get(name, 1.0) for name in names])
        if not weights.sum():
            raise UserError(f"dataset.raters.weights: {listing(names)} all count 0; nobody is left")
        share: Float64Array = weights / weights.sum()
        return share


def _no_rater(
    name: str, raters: Collection[str], others: str = "", also: Sequence[str] = ()
) -> str | None:
    """What is wrong, when `name` is not among the raters; `others` and `also` may stand there."""
    if name in raters:
        return None
    if set(raters) == {""}:
        return f"no rater '{name}': its masks are not told apart by {{rater}}"
    hint = did_you_mean(name, [*raters, *also])
    return f"no rater '{name}'{hint}; there are {others}{listing(raters)}"
