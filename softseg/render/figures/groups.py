"""Means with intervals in groups of scans: by center in rows, and against the resolution."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softseg.render.figures import style
from softseg.render.figures.style import Colors

LETTERS = 28
"""In a line of the legend."""
_NOTE = "(dot: mean, line: 95 % bootstrap interval)"


def plot_by_center(
    intervals: Mapping[str, pd.DataFrame], names: Sequence[str], path: Path, color: Colors
) -> None:
    """Plot a row per center with a dot per candidate, its mean Dice, and the 95 % interval.

    Args:
        intervals: of each candidate, the columns `mean`, `low` and `high` [%] with a row per
            center, the same ones for all; NaN where nothing is defined.
        names: what is written left of each row.
        path: the file of the figure.
        color: of each candidate.
    """
    columns = style.legend_columns(intervals, LETTERS)
    figure = Figure(figsize=(style.WIDTH, rows_height(intervals, names)), layout="constrained")
    axes = figure.subplots()
    plot_interval_rows(axes, intervals, color)
    style.label_rows(axes, names)
    axes.set_xlabel(f"Dice [%]   {_NOTE}", **style.FONT)
    style.add_legend(figure, columns)
    style.save(figure, path)


def rows_height(candidates: Mapping[str, Any], groups: Sequence[object]) -> float:
    """Inches of a figure with a row per group, and a legend of these candidates."""
    legend = 0.25 * math.ceil(len(candidates) / style.legend_columns(candidates, LETTERS))
    return 1.4 + legend + max(0.45, 0.12 * len(candidates) + 0.15) * len(groups)


def plot_interval_rows(
    axes: Axes, intervals: Mapping[str, pd.DataFrame], color: Mapping[str, str]
) -> None:
    """Plot a row per group: a dot and a line of each candidate, and lines between the groups.

    `intervals` has the columns `mean`, `low` and `high`, as for `plot_by_center`.
    """
    style.tidy_axes(axes, grid="x")
    step, marker = 0.7 / len(intervals), style.markers(intervals, color)
    for k, (name, table) in enumerate(intervals.items()):
        heights = np.arange(len(table)) + (k - (len(intervals) - 1) / 2) * step
        axes.hlines(heights, table["low"], table["high"], color=color[name], linewidth=2)
        dots: dict[str, Any] = {"color": color[name], "markersize": 5.5}
        label = style.legend_name(name, LETTERS)
        axes.plot(table["mean"], heights, marker[name], label=label, **dots)
    for border in range(1, len(next(iter(intervals.values())))):
        axes.axhline(border - 0.5, color=style.FAINT, linewidth=0.6)


def plot_by_resolution(intervals: Mapping[str, pd.DataFrame], path: Path, color: Colors) -> None:
    """Plot the mean Dice of each candidate against the side of a pixel, with the 95 % interval.

    intervals: of each candidate, the columns `in_plane_mm`, `mean`, `low` and `high` [%] with a row
    per group of resolutions, at least two; NaN where nothing is defined. Candidates are drawn next
    to each other within a group.
    """
    figure = Figure(figsize=(style.WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    style.tidy_axes(axes)
    marker = style.markers(intervals, color)
    sizes = np.concatenate([table["in_plane_mm"] for table in intervals.values()])
    gaps = np.diff(np.unique(sizes[np.isfinite(sizes)].round(2)))
    step = 0.4 * gaps.min(initial=1.0, where=gaps > 0) / len(intervals)
    for k, (name, table) in enumerate(intervals.items()):
        x = table["in_plane_mm"] + (k - (len(intervals) - 1) / 2) * step
        axes.vlines(x, table["low"], table["high"], color=color[name], linewidth=1.5)
        line: dict[str, Any] = {"color": color[name], "markersize": 5.5, "linewidth": 1.0}
        label = style.legend_name(name, LETTERS)
        axes.plot(x, table["mean"], f"{marker[name]}-", label=label, **line)
    axes.set_xlabel(f"in-plane resolution [mm]   {_NOTE}", **style.FONT)
    axes.set_ylabel("Dice [%]", **style.FONT)
    style.add_legend(figure, style.legend_columns(intervals, LETTERS))
    style.save(figure, path)
