"""Paired statistics of an ablation: each candidate against the reference.

Only candidates with scores of the same scans are compared: a run that failed, or a metric that is
undefined where the structure was missed, would leave the others averaged over harder scans.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal

import numpy as np
import pandas as pd

from softseg.core.errors import UserError
from softseg.core.names import unknown_name
from softseg.metrics.significance import Method, holm, median_interval, wilcoxon

PER_SPLIT_CAUTION = (
    "Splits share subjects, in training and, if splits are random, in their test sets too, so "
    "runs on different splits are not independent: the p-values per split are too small and must "
    "be read with care."
)

Unit = Literal["subject", "split"]
"""What one pair is: a subject (mean over splits), or a split and so a run (mean over subjects)."""

UNITS: tuple[Unit, ...] = ("subject", "split")
COLUMN: dict[Unit, str] = {"subject": "person", "split": "split"}
"""Unit -> its column: sessions of one person are not independent subjects."""
_SCORE = ["split", "person", "subject"]
_CASE = ["split", "subject", "target"]
_DECIMALS = 10  # of differences: means that are equal on paper may differ in their last bit
_ROUNDING = 1e-5  # of a difference of volumes, which are sums of float32


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
    """Mean of the candidate over the pairs."""
    reference_mean: float
    """Mean of the reference over the same pairs."""
    median_difference: float
    """Median over the pairs of candidate minus reference."""
    low: float
    """Lower end of the 95 % interval of the median difference."""
    high: float
    p: float
    p_holm: float
    """Adjusted for all candidates compared on this target, metric and unit."""
    method: str
    """exact, approx or paper; empty without a test."""
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
    each subject or split; see `paired_means`. Undefined values are NaN. Where a scan has a score of
    only one of the two, they are not compared: all values are NaN, and the note counts these scans.
    For the unit "split", see `PER_SPLIT_CAUTION`. `metrics` is the table of `scores_by_candidate`,
    and `metrics_named` are columns of it.

    Raises UserError if the reference or a metric does not exist, or a score exists twice.
    """
    candidates = [str(name) for name in metrics["candidate"].unique()]
    if reference not in candidates:
        raise UserError(f"reference: {unknown_name('candidate', reference, candidates)}")
    columns = [str(name) for name in metrics.columns]
    for metric in metrics_named:
        if metric not in columns:
            raise UserError(f"metric: {unknown_name('column', metric, columns)}")
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
    alone = dict(
        zip((candidate, reference), count_unmatched(scores, candidate, reference), strict=True)
    )
    note = ""
    if any(alone.values()):  # what is left has no part of the scans that are harder for one
        pairs = pairs[:0]
        counts = ", ".join(
            f"{count} scored only by {name}" for name, count in alone.items() if count
        )
        note = f"not compared, as the scans with a score differ: {counts}"
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
        note=note or test.note,
    )


def scores_by_candidate(metrics: pd.DataFrame, target: str, metric: str) -> pd.DataFrame:
    """One metric of one target: rows (split, person, subject), columns the candidates.

    `metrics` has one row per run, subject and target, with the columns `candidate`, `split`,
    `subject` (a session), `person`, `target` and those of the metrics. Values are in the metric's
    own unit; NaN if it is undefined or the run is missing. Raises UserError if a candidate has two
    scores of the same split and subject.
    """
    rows = metrics[metrics["target"] == target]
    repeated = rows[rows.duplicated(["candidate", *_SCORE])]
    if len(repeated):
        row = repeated.iloc[0]
        raise UserError(
            f"{row['candidate']} has two scores of {target} for subject {row['subject']} in split "
            f"{row['split']}; keep one run of each candidate and split"
        )
    return rows.pivot(index=_SCORE, columns="candidate", values=metric).astype("float64")


def paired_means(scores: pd.DataFrame, candidates: Sequence[str], unit: Unit) -> pd.DataFrame:
    """Each unit's mean over those of its scores that *all* these candidates have.

    `scores` is the table of `scores_by_candidate`. For a test of two candidates, pass these two
    alone, since each further one may leave out more. The unit "subject" averages over a person's
    sessions and the splits that tested them, "split" over what the run tested, as the tables of
    Gros et al. 2020 (section 2.4.1) do. Rows are persons or splits, sorted; there is no NaN, as a
    unit without a common score has no row.
    """
    columns = scores.reindex(columns=list(candidates))
    return columns[_defined(columns).all(axis=1)].groupby(level=COLUMN[unit]).mean()


def count_unmatched(scores: pd.DataFrame, candidate: str, other: str) -> tuple[int, int]:
    """How many scans only the first has a score of, and only the second."""
    defined = _defined(scores.reindex(columns=[candidate, other])).to_numpy()
    alone = defined & (defined.sum(axis=1, keepdims=True) == 1)
    first, second = alone.sum(axis=0).tolist()
    return first, second


def _defined(scores: pd.DataFrame) -> pd.DataFrame:
    return scores.notna() & ~scores.isin([np.inf, -np.inf])


def same_truth(metrics: pd.DataFrame, candidate: str, reference: str) -> bool:
    """Whether two candidates' truths have the same volumes, binary and soft, in every scan.

    The ignored volumes must be the same, too: otherwise they were scored on different voxels.

    `metrics` has rows of metrics.csv with `candidate` and `split`.
    """
    soft_volume = metrics["soft_volume_ml"] - metrics["dV_soft_ml"]
    volumes = [metrics["volume_truth_ml"], soft_volume]
    if "ignored_ml" in metrics:  # where no candidate ignores voxels, there is no such column
        volumes.append(metrics["ignored_ml"].fillna(0))
    return all(_agree(metrics, values, candidate, reference) for values in volumes)


def same_raters(metrics: pd.DataFrame, candidate: str, reference: str) -> bool:
    """Whether the Dice between raters is the same for both, as the same masks have it."""
    column = "dice_between_raters"
    return column not in metrics or _agree(metrics, metrics[column], candidate, reference)


def _agree(metrics: pd.DataFrame, values: pd.Series[float], candidate: str, reference: str) -> bool:
    """Whether values of two candidates are the same, but for rounding, in their common cases."""
    cases = metrics[["candidate", *_CASE]].assign(value=values).groupby(["candidate", *_CASE])
    by_case = cases["value"].first().unstack("candidate").reindex(columns=[candidate, reference])
    both = by_case.dropna().to_numpy()
    tolerance = _ROUNDING * float(np.abs(values).max())
    return bool(np.allclose(both[:, 0], both[:, 1], rtol=_ROUNDING, atol=tolerance))
