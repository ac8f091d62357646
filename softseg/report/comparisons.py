"""Paired statistics of an ablation: each candidate against the reference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import pandas as pd

from softseg.core.errors import UserError
from softseg.metrics.significance import Method, holm, median_interval, wilcoxon
from softseg.report.pairing import Unit, count_unmatched, paired_means, scores_by_candidate

PER_SPLIT_CAUTION = (
    "Splits share subjects, in training and, if splits are random, in their test sets too, so "
    "runs on different splits are not independent: the p-values per split are too small and must "
    "be read with care."
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
    """Differences, without the zeros, that have the same size as another one."""
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
    """exact, approx or paper; empty without pairs."""
    note: str


def compare(
    metrics: pd.DataFrame,
    reference: str,
    unit: Unit,
    metrics_named: Sequence[str],
    method: Method = "auto",
) -> list[Comparison]:
    """Compare every other candidate with the reference, for each target and metric.

    A two-sided Wilcoxon signed-rank test (Gros et al. 2020, section 2.4.1) on the means of
    each subject or split over the scores that both have; see `pairing.paired_means`. Undefined
    values are NaN; the note counts scores without a counterpart.

    Args:
        metrics: see `pairing.scores_by_candidate`.
        reference: the candidate that the others are compared with.
        unit: what one pair is; for "split", see `PER_SPLIT_CAUTION`.
        metrics_named: columns of `metrics`, in the order of the result.
        method: how p-values are computed.

    Raises:
        UserError: the reference or a metric does not exist, or a score exists twice.
    """
    candidates = [str(name) for name in metrics["candidate"].unique()]
    _check_name(reference, candidates, "candidate", "reference")
    for metric in metrics_named:
        _check_name(metric, [str(name) for name in metrics.columns], "column", "metric")
    others = [name for name in candidates if name != reference]
    comparisons: list[Comparison] = []
    for target in metrics["target"].unique():
        for metric in metrics_named:
            scores = scores_by_candidate(metrics, target, metric)
            family = [
                _compare_pair(scores, target, metric, candidate, reference, unit, method)
                for candidate in others
            ]
            adjusted = holm([comparison.p for comparison in family])
            comparisons += [
                replace(comparison, p_holm=float(p))
                for comparison, p in zip(family, adjusted, strict=True)
            ]
    return comparisons


def as_table(comparisons: Iterable[Comparison]) -> pd.DataFrame:
    """One row per comparison, the fields as columns: for a CSV."""
    columns = [field.name for field in fields(Comparison)]
    return pd.DataFrame([asdict(comparison) for comparison in comparisons], columns=columns)


def _compare_pair(
    scores: pd.DataFrame,
    target: str,
    metric: str,
    candidate: str,
    reference: str,
    unit: Unit,
    method: Method,
) -> Comparison:
    """Compare one candidate with the reference; `p_holm` is not adjusted yet."""
    pairs = paired_means(scores, [candidate, reference], unit)
    # rounded, since means that are equal on paper may differ in their last bit
    differences = (pairs[candidate] - pairs[reference]).to_numpy().round(_DECIMALS)
    test = wilcoxon(differences, method)
    low, high = median_interval(differences)
    unmatched = zip(
        (candidate, reference), count_unmatched(scores, candidate, reference), strict=True
    )
    left_out = ", ".join(f"{count} of {name}" for name, count in unmatched if count)
    notes = [test.note, f"scores without a counterpart left out: {left_out}" if left_out else ""]
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
        note="; ".join(filter(None, notes)),
    )


def _check_name(name: str, available: Sequence[str], kind: str, role: str) -> None:
    if name not in available:
        raise UserError(
            f"the {role} {name!r} is not a {kind} of the metrics; choose from "
            f"{', '.join(available)}"
        )
