"""A prediction among raters: its Dice with each, theirs with one another, the energy distance."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping

import numpy as np

from softseg.core.types import BoolArray
from softseg.metrics.overlap import dice


def agreement(mask: BoolArray, raters: Mapping[str, BoolArray]) -> dict[str, float]:
    """How a binary prediction stands among the raters of one target of one scan.

    Args:
        mask: the prediction (X, Y, Z).
        raters: rater -> mask (X, Y, Z); at least one.

    Returns:
        `dice_rater_<name>` of the prediction with each rater, their mean `dice_raters`, the mean
        over all pairs of raters `dice_between_raters`, all percent; and `ged`, the squared
        generalized energy distance 2 E[d(S, Y)] - E[d(S, S')] - E[d(Y, Y')] with d = 1 - IoU
        (Kohl et al. 2018, appendix), where S is the one prediction, so that E[d(S, S')] is 0, and
        Y and Y' are drawn from the raters with replacement; 0 is best. Two empty masks have an IoU
        of 1 there; Dice of two empty masks is NaN and left out of means.
    """
    each = {f"dice_rater_{name}": dice(mask, drawn) for name, drawn in raters.items()}
    pairs = itertools.combinations(raters.values(), 2)
    between = _mean(dice(one, other) for one, other in pairs)
    return {
        **each,
        "dice_raters": _mean(each.values()),
        "dice_between_raters": between,
        "ged": energy_distance(mask, list(raters.values())),
    }


def energy_distance(mask: BoolArray, raters: list[BoolArray]) -> float:
    """The squared generalized energy distance of one prediction to the raters, >= 0."""
    away = _mean(_distance(mask, drawn) for drawn in raters)
    apart = [_distance(one, other) for one, other in itertools.combinations(raters, 2)]
    # of all ordered pairs with replacement; a rater is at distance 0 of herself
    within = 2 * sum(apart) / len(raters) ** 2
    return 2 * away - within


def _distance(one: BoolArray, other: BoolArray) -> float:
    """1 - IoU; 0 where both are empty."""
    union = int(np.count_nonzero(one | other))
    return 1 - int(np.count_nonzero(one & other)) / union if union else 0.0


def _mean(values: Iterable[float]) -> float:
    """Over what is defined; NaN where nothing is."""
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
