"""The Wilcoxon signed-rank test, Holm's correction for several tests, and bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from softseg.core.types import Float64Array

Method = Literal["auto", "exact", "approx", "paper"]
"""How a p-value is computed.

exact: the distribution of the signed ranks, which assumes that no two differences tie.
approx: the normal approximation, corrected for continuity and ties.
paper: the same without correction for continuity, as in the analysis published with Gros et
    al. 2020; its p-values are smaller than those of `approx`.
auto: exact for at most 50 differences without zeros and ties, otherwise approx.
"""

_SIGNIFICANT = 0.05  # section 2.4.1


@dataclass(frozen=True)
class Wilcoxon:
    """The result of a paired two-sided test."""

    p: float
    """p-value in (0, 1]; NaN without any pair, 1 if all differences are zero."""
    method: str
    """The method used: exact, approx or paper; empty if there was nothing to compute."""
    pairs: int
    """Number of pairs."""
    zeros: int
    """Pairs without a difference: dropped, as by Wilcoxon."""
    tied: int
    """Nonzero differences that share their absolute value with another."""
    note: str
    """What a reader must know about the p-value, as text; empty if there is nothing."""


def wilcoxon(differences: ArrayLike, method: Method = "auto") -> Wilcoxon:
    """Test whether paired differences center on zero: two-sided Wilcoxon signed-rank test.

    Args:
        differences: (N,), any unit; absolute values tie only if they are exactly equal.
        method: see `Method`.

    Raises:
        ValueError: a difference is not finite, or the method is unknown.
    """
    from scipy import stats  # slow to import, and every YAML that is read comes through here

    values = np.asarray(differences, dtype=np.float64).ravel()
    if not np.isfinite(values).all():
        raise ValueError("differences must be finite: leave out pairs with an undefined value")
    if method not in ("auto", "exact", "approx", "paper"):
        raise ValueError(f"method {method!r} is not auto, exact, approx or paper")
    nonzero = values[values != 0]
    zeros = len(values) - len(nonzero)
    _, counts = np.unique(np.abs(nonzero), return_counts=True)
    tied = int(counts[counts > 1].sum())
    if method == "auto":
        is_exact = len(nonzero) <= 50 and not zeros and not tied  # as in scipy
        method = "exact" if is_exact else "approx"
    note = "; ".join(_notes(len(nonzero), zeros, tied, method))
    if not len(nonzero):
        return Wilcoxon(1.0 if zeros else float("nan"), "", len(values), zeros, tied, note)
    # without zeros, which scipy's methods and versions treat differently
    result: Any = stats.wilcoxon(
        nonzero, method="exact" if method == "exact" else "approx", correction=method == "approx"
    )
    return Wilcoxon(float(result.pvalue), method, len(values), zeros, tied, note)


def _notes(nonzero: int, zeros: int, tied: int, method: Method) -> Iterator[str]:
    """The remarks on a test with these numbers of differences."""
    if not nonzero:
        yield "every difference is zero" if zeros else "no pairs"
        return
    if zeros:
        yield f"{zeros} zero difference{'s' * (zeros > 1)} dropped"
    if tied:
        exact = ", so the exact distribution does not quite hold" if method == "exact" else ""
        yield f"{tied} differences tied in size{exact}"
    if (least := 2 / 2**nonzero) > _SIGNIFICANT:
        count = f"{nonzero} difference{'s' * (nonzero > 1)}"
        yield f"with {count} no exact p-value is below {_SIGNIFICANT} (the least is {least:.3g})"


def holm(p_values: ArrayLike) -> Float64Array:
    """Adjust p-values (N,) that belong to one family by Holm's step-down procedure.

    Returns:
        (N,) adjusted p-values in the given order, at most 1; NaN stays NaN and does not count
        as a comparison.
    """
    values = np.asarray(p_values, dtype=np.float64).ravel()
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]  # NaN sorts last
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted = np.full_like(values, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def mean_interval(values: ArrayLike) -> tuple[float, float]:
    """Return the 95 % bootstrap percentile interval of the mean; NaN for fewer than two values.

    Of (N,) values by 10 000 resamples, as in Bertels et al. 2021.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    if len(sample) < 2:
        return float("nan"), float("nan")
    if len(np.unique(sample)) == 1:  # scipy rejects one value and warns of equal ones
        return float(sample[0]), float(sample[0])
    interval = _bootstrap(sample, np.mean, resamples=10_000).confidence_interval
    return float(interval.low), float(interval.high)


def median_interval(values: ArrayLike) -> tuple[float, float]:
    """Return the 95 % bootstrap percentile interval of the median of (N,) values; NaN without any.

    The same values always have the same interval.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    if not len(sample):
        return float("nan"), float("nan")
    if len(np.unique(sample)) == 1:  # scipy rejects one value and warns of equal ones
        return float(sample[0]), float(sample[0])
    result = _bootstrap(sample, np.median, resamples=9999)
    # scipy's own interval is off by a last bit between equal medians, so may miss the median
    low, high = np.percentile(result.bootstrap_distribution, [2.5, 97.5])
    return float(low), float(high)


def _bootstrap(sample: Float64Array, statistic: Callable[..., Any], resamples: int) -> Any:
    """Return scipy's result for a statistic of (N,) values that are not all equal."""
    from scipy import stats  # slow to import, and every YAML that is read comes through here

    return stats.bootstrap(
        (sample,),
        statistic,
        n_resamples=resamples,
        batch=1000,  # resamples at once: bounds the memory, whatever the number of subjects
        method="percentile",
        random_state=np.random.default_rng(0),  # `rng` needs scipy 1.15
    )
