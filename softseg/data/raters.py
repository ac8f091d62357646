"""The fusion of several raters' masks of one structure into the mask that is learned."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator
from scipy import ndimage

from softseg.core.component import Component
from softseg.core.errors import UserError
from softseg.core.names import did_you_mean, listing, natural_key
from softseg.core.types import BoolArray, Float32Array

_MARGIN = 2  # voxels around all raters' foreground, for STAPLE
_FUSIONS = ("majority", "mean", "staple", "random")


class Raters(Component):
    """How masks of several raters are fused; a single mask stays as it is, soft."""

    fusion: str | int = "majority"
    """majority (1 where more than half of the raters have at least 0.5; exactly half is
    background) | mean (soft where raters disagree) | staple (the probability that STAPLE
    estimates, soft) | random (in training the mask of one rater, drawn again for each slice and
    epoch, the same rater for all targets; otherwise the mean) | the name of one rater."""
    weights: dict[str, Annotated[float, Field(ge=0)]] | None = None
    """Weight of each rater in `majority` and `mean` (Gros et al. 2020, section 4.4.2), such as
    years of experience; raters not listed have weight 1. null: equal weights."""
    required: (
        Annotated[tuple[str | int, ...], Field(min_length=1)] | Annotated[int, Field(ge=1)] | None
    ) = None
    """Raters whose masks every target of every subject must have: their names, or the smallest
    number of raters. A subject that lacks one is an error. null: subjects may differ, which is
    reported as a warning."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Raise ValueError for weights that would have no effect."""
        if self.weights is not None and self.fusion not in ("majority", "mean"):
            raise ValueError("weights: apply to fusion: majority and mean only; set them to null")
        return self

    @property
    def chosen(self) -> str | None:
        """The one rater whose masks are used, or None if masks are fused."""
        return None if self.fusion in _FUSIONS else str(self.fusion)

    @property
    def required_names(self) -> tuple[str, ...]:
        """The raters who are required by name."""
        return tuple(map(str, self.required)) if isinstance(self.required, tuple) else ()

    def chosen_rater_problem(self, raters: Collection[str]) -> str | None:
        """Return what is wrong if the chosen rater is not one of `raters`."""
        if self.chosen is None or self.chosen in raters:
            return None
        return _no_rater(self.chosen, raters, _FUSIONS)

    def check_names(self, raters: Collection[str]) -> None:
        """Raise UserError if a key names a rater who is not one of `raters`, unless it is empty."""
        if not raters:
            return
        if problem := self.chosen_rater_problem(raters):
            raise UserError(f"dataset.raters.fusion: {problem}")
        for key, names in (("weights", self.weights or ()), ("required", self.required_names)):
            for name in names:
                if name not in raters:
                    raise UserError(f"dataset.raters.{key}: {_no_rater(name, raters)}")

    def __call__(self, masks: Mapping[str, Float32Array]) -> Float32Array:
        """Fuse rater -> mask (X, Y, Z) in [0, 1] into one, float32 in [0, 1], on the native grid.

        Raises UserError if the chosen rater has no mask, and if all weights are 0.
        """
        if problem := self.chosen_rater_problem(masks):
            raise UserError(f"dataset.raters.fusion: {problem}")
        if self.chosen is not None:
            return masks[self.chosen]
        names = sorted(masks, key=natural_key)
        stack: Float32Array = np.stack([masks[name] for name in names])
        if len(stack) == 1:
            return masks[names[0]]
        if self.fusion == "staple":
            return staple(stack)
        weights = np.array([(self.weights or {}).get(name, 1.0) for name in names])
        if not weights.sum():
            raise UserError(
                f"dataset.raters.weights: {listing(names)} all have weight 0; "
                "give at least one of them a weight"
            )
        weights = weights / weights.sum()
        if self.fusion in ("mean", "random"):
            return np.asarray(np.tensordot(weights, stack, axes=1), dtype=np.float32)
        votes = np.tensordot(weights, (stack >= 0.5).astype(np.float64), axes=1)
        # weights are rounded: half of them is not exactly a half
        return np.asarray(votes > 0.5 + 1e-9, dtype=np.float32)


def _no_rater(name: str, raters: Collection[str], fusions: Sequence[str] = ()) -> str:
    """Return the message that `name` is not one of the raters (nor one of the fusions)."""
    if set(raters) == {""}:
        return f"no rater '{name}': its masks are not distinguished by {{rater}}"
    choices = f"{', '.join(fusions)} and {listing(raters)}" if fusions else listing(raters)
    near = did_you_mean(name, [*raters, *fusions])
    return f"no rater '{name}'{near}; choices are {choices}"


def staple(masks: Float32Array) -> Float32Array:
    """Return the probability (X, Y, Z) that STAPLE estimates from masks (R, X, Y, Z) in [0, 1].

    Masks are foreground from 0.5 on. STAPLE weighs each rater by its estimated performance
    (Warfield, Zou, Wells 2004, IEEE TMI 23, 903-921); this is SimpleITK's filter.
    It is estimated in the box around all raters' foreground, as any rater looks more specific the
    more background there is; outside the box it is 0. If no rater has background (or foreground)
    anywhere, raters cannot be compared and it is 1 (or 0) everywhere.
    """
    votes: BoolArray = masks >= 0.5
    probability: Float32Array = np.zeros(votes.shape[1:], np.float32)
    if votes.all():
        return probability + 1
    if not votes.any():
        return probability
    [foreground] = ndimage.find_objects(np.logical_or.reduce(votes).astype(np.uint8))
    box = tuple(
        slice(max(0, span.start - _MARGIN), min(size, span.stop + _MARGIN))
        for span, size in zip(foreground, probability.shape, strict=True)
    )
    import SimpleITK as sitk  # noqa: N813 - its own name for itself; slow to import

    estimate = sitk.STAPLEImageFilter()
    estimate.SetForegroundValue(1)
    estimate.SetNumberOfThreads(1)  # sums in one order: the same bits every time
    images = [sitk.GetImageFromArray(vote[box].astype(np.uint8)) for vote in votes]
    estimated = sitk.GetArrayFromImage(estimate.Execute(images))
    probability[box] = estimated.clip(0, 1).astype(np.float32)
    return probability
