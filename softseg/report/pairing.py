"""Scores of several candidates side by side, averaged only over what all of them scored.

A run that failed, or a metric that is undefined for one candidate, must not leave the others
averaged over more (easier or harder) scans: a score counts only if each candidate has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from softseg.core.errors import UserError

Unit = Literal["subject", "split"]
"""What one pair is: a subject (mean over splits), or a split and so a run (mean over subjects)."""

UNITS: tuple[Unit, ...] = ("subject", "split")
COLUMN: dict[Unit, str] = {"subject": "person", "split": "split"}
"""Unit -> its column: sessions of one person are not independent subjects."""
_SCORE = ["split", "person", "subject"]
_CASE = ["split", "subject", "target"]
_ROUNDING = 1e-5  # of a difference of volumes, which are sums of float32


def scores_by_candidate(metrics: pd.DataFrame, target: str, metric: str) -> pd.DataFrame:
    """One metric of one target: rows (split, person, subject), columns the candidates.

    Args:
        metrics: one row per run, subject and target, with the columns `candidate`, `split`,
            `subject` (a session), `person`, `target` and those of the metrics.
        target: a value of the column `target`.
        metric: the name of a column.

    Returns:
        Values in the metric's own unit; NaN if it is undefined or the run is missing.

    Raises:
        UserError: a candidate has two scores of the same split and subject.
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

    Args:
        scores: the table of `scores_by_candidate`.
        candidates: one or more, each once; for a test of two, pass these two alone, since each
            further one may leave out more.
        unit: "subject" averages over a person's sessions and the splits that tested them, "split"
            over what the run tested, as the tables of Gros et al. 2020 (section 2.4.1) do.

    Returns:
        Rows are persons or splits, sorted, columns are the candidates in the order given; no
        NaN: a unit without a common score has no row.
    """
    columns = scores.reindex(columns=list(candidates))
    return columns[_defined(columns).all(axis=1)].groupby(level=COLUMN[unit]).mean()


def count_unmatched(scores: pd.DataFrame, candidate: str, other: str) -> tuple[int, int]:
    """How many scores only the first has, and only the second: `paired_means` leaves them out."""
    defined = _defined(scores.reindex(columns=[candidate, other])).to_numpy()
    alone = defined & (defined.sum(axis=1, keepdims=True) == 1)
    first, second = alone.sum(axis=0).tolist()
    return first, second


def _defined(scores: pd.DataFrame) -> pd.DataFrame:
    return scores.notna() & ~scores.isin([np.inf, -np.inf])


def same_truth(metrics: pd.DataFrame, candidate: str, reference: str) -> bool:
    """Whether two candidates' truths have the same volumes, binary and soft, in every scan.

    `metrics` has rows of metrics.csv with `candidate` and `split`.
    """
    soft_volume = metrics["soft_volume_ml"] - metrics["dV_soft_ml"]
    return all(
        _agree(metrics, values, candidate, reference)
        for values in (metrics["volume_truth_ml"], soft_volume)
    )


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
