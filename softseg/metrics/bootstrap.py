"""95 % bootstrap percentile intervals of a mean and of a median.

Resamples come from a fixed seed: the same values always have the same interval.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from softseg.core.types import Float64Array

_BATCH = 1000  # resamples at once: bounds the memory, whatever the number of subjects


def mean_interval(values: ArrayLike) -> tuple[float, float]:
    """Return the interval of the mean of (N,) values; NaN for fewer than two.

    10 000 resamples, as in Bertels et al. 2021.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    if len(sample) < 2:
        return float("nan"), float("nan")
    if _are_equal(sample):
        return float(sample[0]), float(sample[0])
    interval = _bootstrap(sample, np.mean, resamples=10_000).confidence_interval
    return float(interval.low), float(interval.high)


def median_interval(values: ArrayLike) -> tuple[float, float]:
    """Return the interval of the median of (N,) values; NaN without any."""
    sample = np.asarray(values, dtype=np.float64).ravel()
    if not len(sample):
        return float("nan"), float("nan")
    if _are_equal(sample):
        return float(sample[0]), float(sample[0])
    result = _bootstrap(sample, np.median, resamples=9999)
    # scipy's own interval is off by a last bit between equal medians, so may miss the median
    low, high = np.percentile(result.bootstrap_distribution, [2.5, 97.5])
    return float(low), float(high)


def _are_equal(sample: Float64Array) -> bool:
    """Whether there is nothing to resample: scipy rejects one value and warns of equal ones."""
    return len(np.unique(sample)) == 1


def _bootstrap(sample: Float64Array, statistic: Callable[..., Any], resamples: int) -> Any:
    """Return scipy's result for a statistic of (N,) values that are not all equal."""
    from scipy import stats  # slow to import, and every YAML that is read comes through here

    return stats.bootstrap(
        (sample,),
        statistic,
        n_resamples=resamples,
        batch=_BATCH,
        method="percentile",
        random_state=np.random.default_rng(0),  # `rng` needs scipy 1.15
    )
