"""Numbers for people: summaries of metrics.csv and tables on the screen."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from softseg.metrics.headings import HEADINGS

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


def summarize(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """{target: {metric: {mean, std, n}}} over subjects; n counts those where it is defined.

    std is the sample standard deviation (ddof 1); a mean or std that is undefined is None.
    """
    return {
        str(target): {
            str(metric): _moments(rows[metric])
            for metric in rows.columns
            if metric not in _NOT_METRICS
        }
        for target, rows in table.groupby("target", sort=False)
    }


def _moments(values: pd.Series[Any]) -> dict[str, float | int | None]:
    mean, std = float(values.mean()), float(values.std())
    return {
        "mean": None if math.isnan(mean) else mean,
        "std": None if math.isnan(std) else std,
        "n": int(values.count()),
    }


def metrics_table(table: pd.DataFrame, title: str) -> Table:
    """Mean +- standard deviation of each metric, one row a target."""
    shown = Table(title=escape(title), title_justify="left")
    shown.add_column("target")
    shown.add_column("scans", justify="right")
    headings = {name: HEADINGS[name].short for name in _PRINTED if name in table.columns}
    for heading in headings.values():
        shown.add_column(escape(heading), justify="right")
    for target, metrics in summarize(table).items():
        count = str(int((table["target"] == target).sum()))
        shown.add_row(escape(target), count, *(_cell(metrics[metric]) for metric in headings))
    return shown


def _cell(moments: dict[str, float | int | None]) -> str:
    mean, std = moments["mean"], moments["std"]
    if mean is None:
        return "undefined"
    places = 1 if abs(mean) >= 10 else 2 if abs(mean) >= 0.1 else 4
    return f"{mean:.{places}f}" + ("" if std is None else f" ± {std:.{places}f}")
