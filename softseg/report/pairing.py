"""Scores of several candidates side by side, averaged only over what all of them scored.

A run that failed, or a metric that is undefined for one candidate, must not leave the others
averaged over more (easier or harder) scans: a score counts only where each candidate has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from softseg.core.errors import UserError

Unit = Literal["subject", "split"]
"""What is one pair: a subject (mean over splits) or a split, so a run (mean over subjects)."""

UNITS: tuple[Unit, ...] = ("subject", "split")
COLUMN: dict[Unit, str] = {"subject": "person", "split": "split"}
"""Unit -> the column that tells it: sessions of one person are not independent subjects."""
_SCORE = ["split", "person", "subject"]


def scores(metrics: pd.DataFrame, target: str, metric: str) -> pd.DataFrame:
    """One metric of one target: rows (split, person, subject), columns the candidates.

    Args:
        metrics: one row a run, subject and target, with the columns `candidate`, `split`,
            `subject` (a session), `person`, `target` and those of the metrics.
        target: one of the column `target`.
        metric: the name of a column.

    Returns:
        Values in the metric's own unit; NaN where it is undefined or the run is missing.

    Raises:
        UserError: a candidate has two scores of the same split and subject.
    """
    rows = metrics[metrics["target"] == target]
    twice = rows[rows.duplicated(["candidate", *_SCORE])]
    if len(twice):
        row = twice.iloc[0]
        raise UserError(
            f"{row['candidate']} has two scores of {target} for subject {row['subject']} in split "
            f"{row['split']}; keep one run of each candidate and split"
        )
    return rows.pivot(index=_SCORE, columns="candidate", values=metric).astype("float64")


def paired(scored: pd.DataFrame, candidates: Sequence[str], unit: Unit) -> pd.DataFrame:
    """Each unit's mean over those of its scores that *all* these candidates have.

    Args:
        scored: what `scores` returns.
        candidates: one or more, each once; for a test of two, give these two alone, since
            each further one may leave out more.
        unit: "subject" averages over a person's sessions and the splits that tested them, "split"
            over what the run tested, as the tables of Gros et al. 2020 (section 2.4.1) do.

    Returns:
        Rows are persons or splits, sorted, columns are the candidates in the order given; no
        NaN: a unit without a common score has no row.
    """
    wanted = scored.reindex(columns=list(candidates))
    return wanted[_defined(wanted).all(axis=1)].groupby(level=COLUMN[unit]).mean()


def unmatched(scored: pd.DataFrame, candidate: str, other: str) -> tuple[int, int]:
    """How many scores only the first has, and only the second: `paired` leaves them out."""
    defined = _defined(scored.reindex(columns=[candidate, other])).to_numpy()
    alone = defined & (defined.sum(axis=1, keepdims=True) == 1)
    first, second = alone.sum(axis=0).tolist()
    return first, second


def _defined(scored: pd.DataFrame) -> pd.DataFrame:
    return scored.notna() & ~scored.isin([np.inf, -np.inf])


_CASE = ["split", "subject", "target"]
_ROUNDING = 1e-5  # of a difference of volumes, which are sums of float32


def same_truth(metrics: pd.DataFrame, candidate: str, reference: str) -> bool:
    """Whether two candidates' truths have the same volumes, binary and soft, in every scan.

    Args:
        metrics: rows of metrics.csv with `candidate` and `split`; volumes that an older version did
            not write are not compared.
        candidate, reference: two of the column `candidate`.
    """
    named = [metrics[name] for name in ("volume_truth_ml",) if name in metrics]
    if {"soft_volume_ml", "dV_soft_ml"} <= set(metrics):
        named.append(metrics["soft_volume_ml"] - metrics["dV_soft_ml"])
    return all(_agree(metrics, values, candidate, reference) for values in named)


def same_raters(metrics: pd.DataFrame, candidate: str, reference: str) -> bool:
    """Whether the raters of both agree with one another alike, as the same masks do."""
    known = "dice_between_raters"
    return known not in metrics or _agree(metrics, metrics[known], candidate, reference)


def _agree(metrics: pd.DataFrame, values: pd.Series[float], candidate: str, reference: str) -> bool:
    cases = metrics[["candidate", *_CASE]].assign(value=values).groupby(["candidate", *_CASE])
    each = cases["value"].first().unstack("candidate").reindex(columns=[candidate, reference])
    both = each.dropna().to_numpy()
    near = _ROUNDING * float(np.abs(values).max())
    return bool(np.allclose(both[:, 0], both[:, 1], rtol=_ROUNDING, atol=near))
