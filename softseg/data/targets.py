"""A target: one structure to segment, and where its mask comes from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from softseg.core.component import Component, check_distinct


class Target(Component):
    """One output channel of the model."""

    values: Annotated[tuple[int | float, ...], Field(min_length=1)] | None = None
    """Label codes that make up this target, e.g. [1] or [1, 4]; null: the mask itself is the soft
    mask, with values in [0, 1]."""
    label: str | None = None
    """Path pattern of this target's mask, in place of the data set's `label` (loader `files`)."""
    suffix: str | None = None
    """What follows the image's name in the mask's name, e.g. seg-manual; may hold {rater}, e.g.
    seg-rater{rater} (loader `bids`, which needs it)."""
    contrast: str | None = None
    """The contrast whose image the mask is named after; null: the one that has a mask."""

    _distinct = field_validator("values")(check_distinct)
