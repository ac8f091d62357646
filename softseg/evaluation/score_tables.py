"""Tables of scores: metrics.csv, summary.json, reliability.csv, and the one that is printed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pandas as pd

from softseg.core.files import write_atomically, write_json
from softseg.data import Subject
from softseg.data.nifti.grid import Grid, canonical
from softseg.metrics.calibration import ReliabilityBins, bins_to_table
from softseg.metrics.headings import HEADINGS, legend
from softseg.metrics.score import TargetEvaluation
from softseg.render.terminal_table import TerminalTable
from softseg.runs.folder import set_suffix

Moments = dict[str, float | int | None]  # mean, std, n

_NOT_METRICS = ("subject", "person", "target", "group", "in_plane_mm", "threshold")


@dataclass
class Scores:
    """The scores of subjects, with a row per subject and target, and their reliability."""

    group_by: str | None
    """The column of the subjects' groups; None: there is none."""
    rows: list[dict[str, object]] = field(default_factory=list)
    bins: dict[str, list[ReliabilityBins]] = field(default_factory=dict)
    """Target -> those of each subject."""

    def add(
        self,
        subject: Subject,
        target: str,
        plane_mm: float,
        scored: TargetEvaluation,
        threshold: float,
    ) -> None:
        """Add the scores of one target of a subject; `plane_mm` is its `in_plane_mm`."""
        group = subject.value(self.group_by) if self.group_by else None
        row = {"subject": subject.name, "person": subject.person, "target": target}
        row |= {} if group is None else {"group": group}  # in the report
        self.rows.append({**row, "in_plane_mm": plane_mm, **scored.scores, "threshold": threshold})
        if scored.reliability is not None:
            self.bins.setdefault(target, []).append(scored.reliability)

    @property
    def table(self) -> pd.DataFrame:
        """The table of metrics.csv."""
        return pd.DataFrame(self.rows)


def in_plane_mm(grid: Grid, axis: int) -> float:
    """Return the side of a square of the area of one pixel of the slices along a canonical axis."""
    sides = np.delete(canonical(grid).zooms, axis)
    return round(math.sqrt(math.prod(sides)), 4)


def write_tables(folder: Path, scores: Scores, set_name: str = "test") -> None:
    """Write the scores, their summary and, with calibration, the reliability of the soft values.

    Names of other sets than the test set end in the set.
    """
    table = scores.table
    metrics, summary, reliability = (folder / name for name in table_names(set_name))
    write_atomically(metrics, table.to_csv(index=False))
    write_json(summary, summarize_metrics(table))
    if scores.bins:
        tables = [
            bins_to_table(reduce(add, volumes)).assign(target=target)
            for target, volumes in scores.bins.items()
        ]
        write_atomically(reliability, pd.concat(tables).to_csv(index=False))
    else:  # without calibration, the file of an earlier evaluation is about other predictions
        reliability.unlink(missing_ok=True)


def table_names(set_name: str = "test") -> tuple[str, str, str]:
    """Return the names of the files that `write_tables` writes."""
    suffix = set_suffix(set_name)
    return f"metrics{suffix}.csv", f"summary{suffix}.json", f"reliability{suffix}.csv"


def summarize_metrics(table: pd.DataFrame) -> dict[str, dict[str, Moments]]:
    """Return {target: {metric: {mean, std, n}}} over subjects; n counts the defined values.

    std is the sample standard deviation (ddof 1); an undefined mean or std is None.
    """
    metrics = [name for name in table.columns if name not in _NOT_METRICS]
    summary: dict[str, dict[str, Moments]] = {}
    for target, rows in table.groupby("target", sort=False):
        moments = summary[str(target)] = {}
        for metric in metrics:
            mean, std = float(rows[metric].mean()), float(rows[metric].std())
            moments[str(metric)] = {
                "mean": None if math.isnan(mean) else mean,
                "std": None if math.isnan(std) else std,
                "n": int(rows[metric].count()),
            }
    return summary


def metrics_table(table: pd.DataFrame, title: str) -> TerminalTable:
    """Return the mean and standard deviation of each metric, a row per metric."""
    shown = [name for name, heading in HEADINGS.items() if heading.printed and name in table]
    summary = summarize_metrics(table)
    counts = table["target"].value_counts()
    rows = [("scans", *(str(counts[target]) for target in summary))]
    for metric in shown:
        cells = (_cell(moments[metric], int(counts[target])) for target, moments in summary.items())
        rows.append((HEADINGS[metric].short, *cells))
    notes = (legend(shown, "Mean ± SD"),)
    return TerminalTable(title, ("metric", *summary), tuple(rows), notes)


def _cell(moments: Moments, scans: int) -> str:
    """`mean ± std` with about three significant digits, and `(3 of 4)` if it is of fewer scans."""
    mean, std = moments["mean"], moments["std"]
    if mean is None:
        return "undefined"
    size = max(abs(mean), std or 0.0)
    places = 1 if size >= 10 or size == 0 else 2 if size >= 0.1 else 4
    spread = "" if std is None else f" ± {std:.{places}f}"
    defined = "" if moments["n"] == scans else f" ({moments['n']} of {scans})"
    return f"{mean:.{places}f}{spread}{defined}"
