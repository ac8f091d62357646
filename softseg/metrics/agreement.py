"""Agreement of a prediction with several raters: Dice with each, and the energy distance."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping

import numpy as np

from softseg.core.types import BoolArray
from softseg.metrics.overlap import dice


def agreement(mask: BoolArray, raters: Mapping[str, BoolArray]) -> dict[str, float]:
    """Compare a binary prediction with the raters of one target, at least one; masks (X, Y, Z).

    Returns:
        `dice_rater_<name>` of the prediction with each rater, their mean `dice_raters`, the mean
        over all pairs of raters `dice_between_raters`, all in percent; and `ged`, the squared
        generalized energy distance. Dice of two empty masks is NaN and left out of means.
    """
    with_each = {f"dice_rater_{name}": dice(mask, rater) for name, rater in raters.items()}
    between = (dice(first, second) for first, second in itertools.combinations(raters.values(), 2))
    return {
        **with_each,
        "dice_raters": _mean_of_defined(with_each.values()),
        "dice_between_raters": _mean_of_defined(between),
        "ged": energy_distance(mask, list(raters.values())),
    }


def energy_distance(mask: BoolArray, raters: list[BoolArray]) -> float:
    """Return the squared generalized energy distance of one prediction to the raters; 0 is best.

    2 E[d(S, Y)] - E[d(S, S')] - E[d(Y, Y')] with d = 1 - IoU (Kohl et al. 2018, appendix), where
    S is the one prediction, so that E[d(S, S')] is 0, and Y and Y' are sampled from the raters
    with replacement. Two empty masks have an IoU of 1.
    """
    to_raters = _mean_of_defined(_distance(mask, rater) for rater in raters)
    pairs = [_distance(first, second) for first, second in itertools.combinations(raters, 2)]
    # over all ordered pairs with replacement; a rater's distance to herself is 0
    between_raters = 2 * sum(pairs) / len(raters) ** 2
    return 2 * to_raters - between_raters


def _distance(first: BoolArray, second: BoolArray) -> float:
    """1 - IoU; 0 where both are empty."""
    union = int(np.count_nonzero(first | second))
    return 1 - int(np.count_nonzero(first & second)) / union if union else 0.0


def _mean_of_defined(values: Iterable[float]) -> float:
    """The mean of the values that are not NaN; NaN without any."""
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
