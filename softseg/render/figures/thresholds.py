"""Dice against the binarization threshold, over all runs of each candidate (SoftSeg Figure 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from softseg.render.figures import style

Curve = Mapping[float, float]
"""Threshold -> Dice [%]."""


def plot_thresholds(
    curves: Mapping[str, Sequence[Curve]], path: Path, *, color: Mapping[str, str] | None = None
) -> None:
    """Plot a panel per candidate: the mean over runs, their range, each run's best threshold.

    Args:
        curves: of each run of each candidate, Dice [%] at each threshold in [0, 1]; NaN if it is
            undefined. A candidate may have no run.
        path: the PNG to write.
        color: of each candidate; `style.colors(curves)` by default.
    """
    color = color or style.colors(curves)
    figure, grid = style.panels(len(curves), 5, 2.6, sharex=True, sharey=True)
    for axes, (name, runs) in zip(grid, curves.items(), strict=True):
        _plot_candidate(axes, runs, color[name])
        style.title_panel(axes, name)
    grid[0].set(xlim=(0, 1), xticks=(0, 0.5, 1), xticklabels=("0", "0.5", "1"))
    figure.supxlabel("threshold", **style.FONT)
    figure.supylabel("Dice [%]", **style.FONT)
    several = any(len(runs) > 1 for runs in curves.values())
    # gray, as the colors are those of candidates
    line = Line2D([], [], color="gray", linewidth=2.5, label="mean of runs" if several else "run")
    band = Patch(color="gray", alpha=0.25, linewidth=0, label="lowest to highest")
    name = "best threshold of each run" if several else "best threshold"
    dot = Line2D([], [], color=style.INK, marker="o", linestyle="", markersize=4, label=name)
    style.add_legend(figure, 3, handles=[line, band, dot] if several else [line, dot])
    style.save(figure, path)


def best(curve: Curve) -> tuple[float, float] | None:
    """(threshold, Dice) with the largest Dice; of equals, the largest threshold.

    None if no Dice is defined.
    """
    points = [(dice, threshold) for threshold, dice in curve.items() if not math.isnan(dice)]
    if not points:
        return None
    dice, threshold = max(points)
    return threshold, dice


def summary(runs: Sequence[Curve]) -> pd.DataFrame:
    """Mean, min and max Dice [%] over runs (columns), at each threshold (index), NaN left out."""
    table = pd.DataFrame([dict(run) for run in runs], dtype=float).sort_index(axis=1)
    return table.agg(["mean", "min", "max"]).T


def _plot_candidate(axes: Axes, runs: Sequence[Curve], color: str) -> None:
    """Plot the mean and the range of the runs, and a dot at the best threshold of each."""
    style.tidy_axes(axes)
    points = [point for point in map(best, runs) if point]
    if not points:
        style.add_message(axes, "Dice undefined" if runs else "no run")
        return
    table = summary(runs)
    if len(runs) > 1:
        axes.fill_between(table.index, table["min"], table["max"], color=color, alpha=0.25, lw=0)
    axes.plot(table.index, table["mean"], color=color, linewidth=2.5)
    x, y = zip(*points, strict=True)
    axes.scatter(x, y, s=18, color=style.INK, alpha=0.75, linewidths=0, zorder=3)
