"""The scans over which candidates are compared: those that all of them have scored.

A candidate that failed on a hard split must not be averaged over easier scans than the others. A
candidate without a finished run has no mean, so it takes no scan away from the others.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from softseg.core.names import listing

SCAN = ["split", "subject"]
"""Columns that identify a scored scan of a target: a scan counts once in each split."""
_MOST_NAMES = 30


def is_shared(metrics: pd.DataFrame) -> pd.Series[bool]:
    """Whether every candidate that has a score of a row's target has scored its scan, (rows,).

    `metrics` has one row per run, subject and target, with the columns `candidate`, `split`,
    `subject` and `target`.
    """
    of_target = metrics.groupby("target")["candidate"].transform("nunique")
    of_scan = metrics.groupby(["target", *SCAN])["candidate"].transform("nunique")
    return of_scan == of_target


def compared_rows(metrics: pd.DataFrame) -> pd.DataFrame:
    """The rows of shared scans; of a target without any, all rows, which cannot be compared."""
    shared = is_shared(metrics)
    return metrics[shared | ~shared.groupby(metrics["target"]).transform("any")]


def left_out_notes(rows: pd.DataFrame) -> Iterator[str]:
    """Name the scans of one target that are in no mean, and the candidates that lack each.

    `rows` are those of the target in the table of all runs. Without a common scan, the one note
    warns that the means are over different scans.
    """
    shared = is_shared(rows)
    if shared.all():
        return
    candidates = list(dict.fromkeys(rows["candidate"]))
    if not shared.any():
        yield (
            f"No scan was scored by all of {', '.join(candidates)}: their means are over "
            "different scans and cannot be compared."
        )
        return
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (split, subject), scored in rows[~shared].groupby(SCAN)["candidate"]:
        missing = tuple(name for name in candidates if name not in set(scored))
        groups.setdefault((str(split), missing), []).append(str(subject))
    for (split, missing), subjects in groups.items():
        yield (
            f"Left out of all means, tests and figures: {listing(subjects, _MOST_NAMES)} in split "
            f"{split}, not scored by {', '.join(missing)}."
        )
