"""How sure a median difference is: a bootstrap interval that repeats bit for bit."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from softseg.metrics.bootstrap import bootstrap

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
