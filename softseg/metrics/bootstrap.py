"""Resampling with replacement from a fixed seed: the same values always have the same interval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 1000  # resamples: bounds the memory, whatever the number of subjects


def bootstrap(values: NDArray[np.float64], statistic: Callable[..., Any], resamples: int) -> Any:
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
