"""The Wilcoxon signed-rank test on paired differences, and Holm's correction for several."""

from __future__ import annotations

from collections.abc import Iterable
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

EXACT_UP_TO = 50
"""The most differences for which `auto` is exact, as in scipy."""

_SIGNIFICANT = 0.05  # section 2.4.1


@dataclass(frozen=True)
class Wilcoxon:
    """A paired two-sided test: its p-value in (0, 1] and what to know about it."""

    p: float
    """NaN without any pair, 1 if all differences are zero."""
    method: str
    """exact, approx or paper: what was used; empty where nothing was to be computed."""
    pairs: int
    zeros: int
    """Pairs without a difference: dropped, as Wilcoxon did."""
    tied: int
    """Differences, zeros aside, whose size another one shares."""
    note: str
    """What a reader must know, in words; empty where there is nothing."""


def wilcoxon(differences: ArrayLike, method: Method = "auto") -> Wilcoxon:
    """The two-sided Wilcoxon signed-rank test that paired differences center on zero.

    Args:
        differences: (N,), any unit; equal sizes are ties only if they are exactly equal.
        method: see `Method`.

    Raises:
        ValueError: a difference is not finite, or the method is unknown.
    """
    values = np.asarray(differences, dtype=np.float64).ravel()
    if not np.isfinite(values).all():
        raise ValueError("differences must be finite: leave out pairs with an undefined value")
    moved = values[values != 0]
    zeros, tied = len(values) - len(moved), _tied(moved)
    used = _used(method, len(moved), zeros, tied)
    p = _p(moved, used) if len(moved) else (1.0 if zeros else float("nan"))
    note = "; ".join(_notes(len(moved), zeros, tied, used))
    return Wilcoxon(p, used if len(moved) else "", len(values), zeros, tied, note)


def _tied(moved: Float64Array) -> int:
    _, counts = np.unique(np.abs(moved), return_counts=True)
    return int(counts[counts > 1].sum())


def _used(method: Method, moved: int, zeros: int, tied: int) -> Literal["exact", "approx", "paper"]:
    if method == "auto":
        return "exact" if moved <= EXACT_UP_TO and not zeros and not tied else "approx"
    if method not in ("exact", "approx", "paper"):
        raise ValueError(f"method {method!r} is not auto, exact, approx or paper")
    return method


def _p(moved: Float64Array, used: Literal["exact", "approx", "paper"]) -> float:
    """Zeros are out already: what scipy makes of them differs between methods and versions."""
    from scipy import stats  # slow to import, and every YAML that is read comes through here

    result: Any = stats.wilcoxon(
        moved, method="exact" if used == "exact" else "approx", correction=used == "approx"
    )
    return float(result.pvalue)


def _notes(moved: int, zeros: int, tied: int, used: str) -> Iterable[str]:
    if not moved:
        yield "every difference is zero" if zeros else "no pairs"
        return
    if zeros:
        yield f"{zeros} zero difference{'s' * (zeros > 1)} dropped"
    if tied:
        exact = ", so the exact distribution does not quite hold" if used == "exact" else ""
        yield f"{tied} differences tied in size{exact}"
    if (least := 2 / 2**moved) > _SIGNIFICANT:
        many = f"{moved} difference{'s' * (moved > 1)}"
        yield f"with {many} no exact p-value is below {_SIGNIFICANT} (the least is {least:.3g})"


def holm(p_values: ArrayLike) -> Float64Array:
    """Holm's step-down adjustment of p-values (N,) that belong to one family.

    Returns:
        (N,) adjusted p-values in the order given, at most 1; NaN stays NaN and does not count
        as a comparison.
    """
    values = np.asarray(p_values, dtype=np.float64).ravel()
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]  # NaN sorts last
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted = np.full_like(values, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted
