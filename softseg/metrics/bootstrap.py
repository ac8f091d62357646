"""Resampling with replacement from a fixed seed: the same values always have the same interval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from softseg.core.types import Float64Array

_AT_ONCE = 1000  # resamples: bounds the memory, whatever the number of subjects


def bootstrap(values: Float64Array, statistic: Callable[..., Any], resamples: int) -> Any:
    """scipy's result for a statistic of (N,) values, two of them or more that are not all equal.

    Its interval is the 95 % percentile interval.
    """
    from scipy import stats  # slow to import, and every YAML that is read comes through here

    return stats.bootstrap(
        (values,),
        statistic,
        n_resamples=resamples,
        batch=_AT_ONCE,
        method="percentile",
        random_state=np.random.default_rng(0),  # `rng` needs scipy 1.15
    )


_RESAMPLES = 9999


def median_interval(differences: ArrayLike) -> tuple[float, float]:
    """The 95 % bootstrap percentile interval of the median of (N,) values; NaN without any.

    The resamples are drawn from a fixed seed: the same values always have the same interval.
    """
    values = np.asarray(differences, dtype=np.float64).ravel()
    if len(np.unique(values)) < 2:  # scipy refuses one value and warns of equal ones
        return (float(values[0]), float(values[0])) if len(values) else (float("nan"),) * 2
    result = bootstrap(values, np.median, _RESAMPLES)
    # scipy's own interval is off by a last bit between equal medians, so may miss the median
    low, high = np.percentile(result.bootstrap_distribution, [2.5, 97.5])
    return float(low), float(high)
