"""Summaries of metrics.csv, as JSON and as a table on the screen."""

from __future__ import annotations

import math

import pandas as pd
from rich.markup import escape
from rich.table import Table

from softseg.metrics.headings import HEADINGS

Moments = dict[str, float | int | None]  # mean, std, n

_PRINTED = (
    "dice",
    "precision",
    "recall",
    "avd",
    "rvd",
    "mse",
    "soft_dice",
    "dV_soft_ml",
    "ece",
    "ltpr",
    "lfdr",
    "hd95_mm",
    "assd_mm",
    "surface_dice",
    "dice_raters",
    "dice_between_raters",
    "ged",
)
"""Metrics of the printed table; those that were not measured are left out."""
_NOT_METRICS = ("subject", "person", "target", "group", "threshold")


def summarize(table: pd.DataFrame) -> dict[str, dict[str, Moments]]:
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


def metrics_table(table: pd.DataFrame, title: str) -> Table:
    """Return the mean and standard deviation of each metric, a row per metric."""
    printed = Table(title=escape(title), title_justify="left")
    printed.add_column("metric", no_wrap=True)
    summary = summarize(table)
    for target in summary:
        printed.add_column(escape(target), justify="right", no_wrap=True)
    counts = table["target"].value_counts()
    printed.add_row("scans", *(str(counts[target]) for target in summary))
    for metric in (name for name in _PRINTED if name in table.columns):
        cells = (_cell(moments[metric]) for moments in summary.values())
        printed.add_row(escape(HEADINGS[metric].short), *cells)
    return printed


def _cell(moments: Moments) -> str:
    """`mean ± std` with about three significant digits."""
    mean, std = moments["mean"], moments["std"]
    if mean is None:
        return "undefined"
    places = 1 if abs(mean) >= 10 else 2 if abs(mean) >= 0.1 else 4
    return f"{mean:.{places}f}" + ("" if std is None else f" ± {std:.{places}f}")
