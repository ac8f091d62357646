"""Paired statistics of an ablation: each candidate against the reference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import pandas as pd

from softseg.core.errors import UserError
from softseg.metrics.bootstrap import median_interval
from softseg.metrics.significance import Method, holm, wilcoxon
from softseg.report.pairing import Unit, paired, scores, unmatched

PER_SPLIT_CAUTION = (
    "Splits share subjects, in training and, where splits are drawn at random, in their test "
    "sets too, so runs on different splits are not independent: the p-values per split are too "
    "small and must be read with care."
)

_DECIMALS = 10


@dataclass(frozen=True)
class Comparison:
    """A candidate against the reference, on the pairs both have; values in the metric's unit."""

    target: str
    metric: str
    candidate: str
    reference: str
    unit: Unit
    pairs: int
    zeros: int
    """Pairs without a difference, which the test drops."""
    tied: int
    """Differences, zeros aside, whose size another one shares."""
    mean: float
    """Of the candidate, over the pairs."""
    reference_mean: float
    """Of the reference, over the same pairs."""
    median_difference: float
    """Of candidate minus reference."""
    low: float
    """Lower end of the 95 % interval of the median difference."""
    high: float
    p: float
    p_holm: float
    """Adjusted for all candidates compared on this target, metric and unit."""
    method: str
    """exact, approx or paper; empty where nothing was to be computed."""
    note: str


def compare(
    metrics: pd.DataFrame,
    reference: str,
    unit: Unit,
    metrics_named: Sequence[str],
    method: Method = "auto",
) -> list[Comparison]:
    """Every other candidate against the reference, for each target and metric.

    A two-sided Wilcoxon signed-rank test (Gros et al. 2020, section 2.4.1) on the means of
    each subject or split over the scores that both have; see `pairing.paired`. Undefined
    values are NaN; the note counts scores without a counterpart.

    Args:
        metrics: see `pairing.scores`.
        reference: the candidate that the others are compared with.
        unit: what one pair is; for "split", see `PER_SPLIT_CAUTION`.
        metrics_named: columns of `metrics`, in the order wanted.
        method: how p-values are computed.

    Raises:
        UserError: there is no such reference or metric, or a score is there twice.
    """
    candidates = [str(name) for name in metrics["candidate"].unique()]
    _check(reference, candidates, "candidate", "reference")
    for metric in metrics_named:
        _check(metric, [str(name) for name in metrics.columns], "column", "metric")
    others = [name for name in candidates if name != reference]
    found: list[Comparison] = []
    for target in metrics["target"].unique():
        for metric in metrics_named:
            scored = scores(metrics, target, metric)
            ones = [_compared(scored, target, metric, o, reference, unit, method) for o in others]
            found += _adjusted(ones)
    return found


def as_table(comparisons: Iterable[Comparison]) -> pd.DataFrame:
    """One row a comparison, the fields as columns: for a CSV."""
    columns = [field.name for field in fields(Comparison)]
    return pd.DataFrame([asdict(one) for one in comparisons], columns=columns)


def _compared(
    scored: pd.DataFrame,
    target: str,
    metric: str,
    candidate: str,
    reference: str,
    unit: Unit,
    method: Method,
) -> Comparison:
    """One comparison, not yet adjusted for the others."""
    pairs = paired(scored, [candidate, reference], unit)
    # rounded, since means that are equal on paper may differ in their last bit
    differences = (pairs[candidate] - pairs[reference]).to_numpy().round(_DECIMALS)
    test = wilcoxon(differences, method)
    low, high = median_interval(differences)
    return Comparison(
        target=target,
        metric=metric,
        candidate=candidate,
        reference=reference,
        unit=unit,
        pairs=test.pairs,
        zeros=test.zeros,
        tied=test.tied,
        mean=float(pairs[candidate].mean()),
        reference_mean=float(pairs[reference].mean()),
        median_difference=float(np.median(differences)) if test.pairs else float("nan"),
        low=low,
        high=high,
        p=test.p,
        p_holm=float("nan"),
        method=test.method,
        note="; ".join(filter(None, [test.note, _left_out(scored, candidate, reference)])),
    )


def _adjusted(family: Sequence[Comparison]) -> list[Comparison]:
    adjusted = holm([one.p for one in family])
    return [replace(one, p_holm=float(p)) for one, p in zip(family, adjusted, strict=True)]


def _left_out(scored: pd.DataFrame, candidate: str, reference: str) -> str:
    alone = zip((candidate, reference), unmatched(scored, candidate, reference), strict=True)
    counts = [f"{count} of {name}" for name, count in alone if count]
    return f"scores without a counterpart left out: {', '.join(counts)}" if counts else ""


def _check(name: str, known: Sequence[str], kind: str, role: str) -> None:
    if name not in known:
        raise UserError(
            f"the {role} {name!r} is not a {kind} of the metrics; there is {', '.join(known)}"
        )
