"""How soft predictions are: the distribution of their values, and Dice over thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from scipy.stats import gaussian_kde

from softseg.core.types import AnyArray, Float64Array
from softseg.render.figures import style
from softseg.render.figures.style import Colors

NARROWEST = 0.01
"""Least width of the kernel: the spike of a nearly binary prediction stays within the figure."""
_SAME = 1e-6
"""Values that differ by less are one value, to float32 and to the reader."""
_LETTERS = 34  # in a line of the legend
# alternating, so that curves on top of each other are both visible; a pair per repeat of a color
_DASHES = (
    ("solid", (0, (5, 1.5))),
    ((0, (1, 1)), (0, (5, 1, 1, 1))),
    ((0, (9, 2)), (0, (3, 1, 1, 1, 1, 1))),
)

Curve = Mapping[float, float]
"""Threshold -> Dice [%]."""


def plot_density(values: Mapping[str, AnyArray], path: Path, color: Colors) -> None:
    """Plot a curve per candidate, each with an area of 1.

    values: predicted values of each candidate, in [0, 1], of any shape, a sample of at most 20,000
    for speed; zeros and NaN are left out. Fewer than two distinct values have no curve; the legend
    names the reason.
    """
    figure = Figure(figsize=(style.WIDTH, 4.2 + 0.2 * (len(values) // 3)), layout="constrained")
    axes = figure.subplots()
    style.tidy_axes(axes)
    at, tallest, repeats = np.linspace(0, 1, 501), 5.0, style.color_repeats(values, color)
    for k, (name, all_values) in enumerate(values.items()):
        flat = np.asarray(all_values, dtype=np.float64).ravel()
        positive = flat[np.isfinite(flat) & (flat > 0)]
        heights = density(positive, at)
        dash = _DASHES[repeats[name] % len(_DASHES)][k % 2]
        line: dict[str, Any] = {"color": color[name], "linestyle": dash, "lw": 1.8}
        label = style.legend_name(name, _LETTERS)
        if heights is not None:
            axes.plot(at, heights, label=label, **line)
            tallest = heights.max(initial=tallest)
        elif len(positive):
            axes.plot([], [], label=f"{label}\n(every value is {positive[0]:.3g})", **line)
        else:
            axes.plot([], [], label=f"{label}\n(no value above 0)", **line)
    axes.set_yscale("log")  # or the spike of a nearly binary prediction flattens all others
    axes.set(xlim=(0, 1), ylim=(0.01, 2 * tallest))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("predicted value (zeros left out)", **style.FONT)
    axes.set_ylabel("density (area 1, log scale)", **style.FONT)
    longest = min(_LETTERS, max(len(name) for name in values))
    style.add_legend(figure, max(1, min(len(values), int(style.WIDTH / (0.6 + 0.075 * longest)))))
    style.save(figure, path)


def density(values: AnyArray, at: AnyArray) -> Float64Array | None:
    """Kernel density of values (N,) in (0, 1] at points (M,) in [0, 1]; None for a single value.

    A Gaussian kernel of Scott's width, at least NARROWEST. What would leak beyond 0 and 1, where
    no prediction can be, is mirrored back, so that the area within [0, 1] is 1.
    """
    if len(values) < 2 or np.ptp(values) < _SAME:
        return None
    floor = NARROWEST / float(values.std(ddof=1))
    kernel = gaussian_kde(values, bw_method=max(len(values) ** -0.2, floor))
    return np.asarray(kernel(at) + kernel(-at) + kernel(2 - at))


def plot_thresholds(curves: Mapping[str, Sequence[Curve]], path: Path, color: Colors) -> None:
    """Plot a panel per candidate: the mean over runs, their range, each run's best threshold.

    curves: of each run of each candidate, Dice [%] at each threshold in [0, 1]; NaN if it is
    undefined. A candidate may have no run.
    """
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


def best_threshold(curve: Curve) -> tuple[float, float] | None:
    """(threshold, Dice) with the largest Dice; of equals, the largest threshold.

    None if no Dice is defined, or all of several are equal.
    """
    points = [(dice, threshold) for threshold, dice in curve.items() if not math.isnan(dice)]
    if not points or 1 == len({dice for dice, _ in points}) < len(points):
        return None
    dice, threshold = max(points)
    return threshold, dice


def summarize_runs(runs: Sequence[Curve]) -> pd.DataFrame:
    """Mean, min and max Dice [%] over runs (columns), at each threshold (index), NaN left out."""
    table = pd.DataFrame([dict(run) for run in runs], dtype=float).sort_index(axis=1)
    return table.agg(["mean", "min", "max"]).T


def _plot_candidate(axes: Axes, runs: Sequence[Curve], color: str) -> None:
    """Plot the mean and the range of the runs, and a dot at the best threshold of each."""
    style.tidy_axes(axes)
    table = summarize_runs(runs) if runs else pd.DataFrame()
    if table.isna().all(axis=None):
        style.add_message(axes, "Dice undefined" if runs else "no run")
        return
    if len(runs) > 1:
        axes.fill_between(table.index, table["min"], table["max"], color=color, alpha=0.25, lw=0)
    axes.plot(table.index, table["mean"], color=color, linewidth=2.5)
    points = [point for point in map(best_threshold, runs) if point]
    x, y = [threshold for threshold, _ in points], [dice for _, dice in points]
    axes.scatter(x, y, s=18, color=style.INK, alpha=0.75, linewidths=0, zorder=3)
