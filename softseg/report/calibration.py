"""What the report says of the soft values themselves: calibration, and bias of volumes."""

from __future__ import annotations

import math
from functools import reduce
from operator import add
from pathlib import Path

import pandas as pd

from softseg.metrics.calibration import ReliabilityBins, bins_from_table
from softseg.metrics.volume_bias import MEASURES, volume_bias_table
from softseg.render.figures import reliability
from softseg.render.figures import volume_bias as bias_figure
from softseg.render.figures.style import colors
from softseg.render.page import Figure, Section
from softseg.render.paper_table import decimals
from softseg.render.text_table import Cell, TextTable
from softseg.report.results import Results
from softseg.report.tables import details_table
from softseg.runs.plan_file import RunStatus

_SAID = (
    "Errors of calibration are measured near the truth (evaluate.metrics.calibration_margin_mm), "
    "over the test scans of all runs. A volume bias above 0 is over-estimation, the opposite of "
    "the relative volume difference."
)


def calibration_section(results: Results, target: str, title: str, figures: Path) -> Section | None:
    """Table, reliability diagram and volume bias of a target; None of runs scored before them."""
    rows = results.metrics[results.metrics["target"] == target]
    if not set(MEASURES.values()) <= set(rows):
        return None
    group = "group" if "group" in rows and rows["group"].notna().any() else None
    tables = {
        name: volume_bias_table(rows[rows["candidate"] == name], group)
        for name in results.candidates
        if (rows["candidate"] == name).any()
    }
    measured = details_table(results, target, "calibration", ("ece", "ace", "brier", "dV_"))
    drawn = [
        _draw_reliability(results, target, figures / f"reliability_{target}.png"),
        _draw_bias(results, target, tables, figures / f"volume_bias_{target}.png"),
    ]
    shown = tuple(figure for figure in drawn if figure is not None)
    return Section(title, (_SAID,), (measured, _table(tables, target)), shown)


def _draw_reliability(results: Results, target: str, path: Path) -> Figure | None:
    bins = {
        name: reduce(add, parts)
        for name in results.candidates
        if (parts := [one for e in results.done(name) if (one := _bins(e, target)) is not None])
    }
    if not bins:
        return None
    reliability.draw(bins, path, color=colors(results.candidates))
    return Figure(
        path,
        f"Reliability of {target}: the mean truth of voxels by their predicted value, over the "
        "test scans of all runs.",
        "Lines of the mean truth over the predicted value for each candidate, and voxel counts.",
    )


def _bins(entry: RunStatus, target: str) -> ReliabilityBins | None:
    path = entry.run.folder / "reliability.csv"
    if not path.is_file():
        return None
    table = pd.read_csv(path, dtype={"target": str}, keep_default_na=False)
    rows = table[table["target"] == target]
    return bins_from_table(rows, str(path)) if len(rows) else None


def _draw_bias(
    results: Results, target: str, tables: dict[str, pd.DataFrame], path: Path
) -> Figure:
    bias_figure.draw(tables, path, color=colors(results.candidates))
    return Figure(
        path,
        f"Bias of the volume of {target}, with its 95 % bootstrap interval over subjects (mean "
        "over the splits that tested them).",
        "Dots with intervals: predicted minus true volume by group and candidate.",
    )


def _table(tables: dict[str, pd.DataFrame], target: str) -> TextTable:
    every = [(name, row) for name, table in tables.items() for row in table.to_dict("records")]
    places = decimals(row["bias_ml"] for _, row in every if math.isfinite(row["bias_ml"]))
    rows = tuple(
        (
            Cell(name),
            Cell(str(row["group"])),
            Cell(str(row["volume"])),
            Cell(str(row["n"])),
            Cell(_interval(row["bias_ml"], row["low_ml"], row["high_ml"], places)),
        )
        for name, row in every
    )
    header = ("candidate", "group", "volume", "subjects", "bias [ml]\n[95 % interval]")
    title = f"Bias of the volume of {target}: predicted minus true"
    return TextTable(f"volume_bias_{target}", title, header, rows)


def _interval(bias: float, low: float, high: float, places: int) -> str:
    if math.isnan(bias):
        return "undefined"
    ends = "" if math.isnan(low) else f" [{low:z.{places}f}, {high:z.{places}f}]"
    return f"{bias:z.{places}f}{ends}"
