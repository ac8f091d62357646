"""Learning curves of all runs of each candidate, and where their time went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from softseg.render.figures import style
from softseg.render.figures.style import Colors

_COLUMNS = {
    "train_loss": "training loss",
    "val_loss": "validation loss",
    "val_dice": "validation Dice [%]",
}


def plot_learning_curves(
    histories: Mapping[str, Sequence[pd.DataFrame]], path: Path, color: Colors
) -> None:
    """Plot a row per candidate: training loss, validation loss, validation Dice [%].

    The two losses of a candidate share an axis, so that overfitting shows as a gap; losses of
    different candidates do not (Dice and Adaptive Wing cannot be compared). Dice does.

    histories: `history.csv` of each run of each candidate: columns epoch, train_loss, val_loss,
    val_dice [%]; runs may differ in length. A candidate may have no run.
    """
    figure = Figure(figsize=(style.WIDTH, 0.9 + 1.45 * len(histories)), layout="constrained")
    grid = figure.subplots(len(histories), 3, squeeze=False, sharex=True)
    for row, (name, runs) in zip(grid, histories.items(), strict=True):
        row[1].sharey(row[0])
        row[2].sharey(grid[0, 2])
        _plot_candidate(row, runs, color[name])
        row[1].tick_params(labelleft=False)
        row[0].set_ylabel(style.wrap(name, 16), **style.FONT)
    grid[0, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes, title in zip(grid[0], _COLUMNS.values(), strict=True):
        axes.set_title(title, **style.FONT)
    several = any(len(runs) > 1 for runs in histories.values())
    note = "   (thin: each run, thick: their median)" if several else ""
    figure.supxlabel(f"epoch{note}", **style.FONT)
    style.save(figure, path)


def median(runs: Sequence[pd.Series[Any]]) -> pd.Series[float]:
    """Median over runs at each epoch (the index) that at least half of them reached.

    Later, the line would jump whenever one of the few remaining runs ends.
    """
    table = pd.concat(list(runs), axis=1)
    return table[2 * table.count(axis=1) >= len(runs)].median(axis=1)


def needs_log(values: pd.Series[Any]) -> bool:
    """Whether a log axis reads better: all above 0, the largest over ten times the least."""
    return bool(len(values) and values.min() > 0 and values.max() > 10 * values.min())


def _plot_candidate(row: Sequence[Axes], runs: Sequence[pd.DataFrame], color: str) -> None:
    """Plot the three columns of a candidate's row."""
    indexed = [run.set_index("epoch").replace([np.inf, -np.inf], np.nan) for run in runs]
    for axes, column in zip(row, _COLUMNS, strict=True):
        style.tidy_axes(axes)
        series = [run[column].dropna() for run in indexed]
        if any(map(len, series)):
            _plot_runs(axes, series, color)
        else:
            style.add_message(axes, "no values")
    losses = [run[column].dropna() for run in indexed for column in ("train_loss", "val_loss")]
    if losses and needs_log(pd.concat(losses)):
        axes = row[0]  # the validation loss shares its axis
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        # plain numbers, and enough of them on an axis of only one or two decades
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _plot_runs(axes: Axes, runs: Sequence[pd.Series[Any]], color: str) -> None:
    """Plot a thin line per run and a thick one of their median; a single run is its median."""
    several = len(runs) > 1
    if several:
        alpha = min(0.6, max(0.25, 3 / len(runs)))
        for run in runs:
            axes.plot(run.index, run, color=color, linewidth=0.7, alpha=alpha)
    middle = median(runs)
    dot = "o" if len(middle) == 1 else None  # a line needs two points
    shade = style.darker(color) if several else color
    axes.plot(middle.index, middle, color=shade, linewidth=1.5, marker=dot, markersize=4)


def plot_timing(seconds: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Plot a stacked bar per candidate, a part per stage, with the total at its end.

    seconds: of each stage of each candidate; a stage may be missing, NaN counts as 0.
    """
    seconds = {
        name: {stage: time if math.isfinite(time) else 0.0 for stage, time in parts.items()}
        for name, parts in seconds.items()
    }
    divisor, unit = time_unit([sum(parts.values()) for parts in seconds.values()])
    figure = Figure(figsize=(style.WIDTH, 1.3 + 0.45 * len(seconds)), layout="constrained")
    axes = figure.subplots()
    style.tidy_axes(axes, grid="x")
    rows = range(len(seconds))
    ends = [0.0] * len(seconds)
    stages = list(dict.fromkeys(stage for parts in seconds.values() for stage in parts))
    step = 0.9 / max(1, len(stages) - 1)
    for k, stage in enumerate(stages):
        # from dark to light: no candidate's colors, and different in black and white
        shade = to_hex(colormaps["cividis"](0.05 + k * step))
        widths = [parts.get(stage, 0) / divisor for parts in seconds.values()]
        axes.barh(rows, widths, 0.62, ends, color=shade, edgecolor="white", lw=0.5, label=stage)
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    for row, end in zip(rows, ends, strict=True):
        # on white, as grid lines may run behind it
        background = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        place: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
        total = f"{style.format_number(end, max(ends))} {unit}"
        axes.annotate(total, (end, row), bbox=background, **style.SMALL_FONT, **place)
    style.label_rows(axes, [style.wrap(name, 18) for name in seconds])
    axes.set_xlabel(f"time [{unit}]", **style.FONT)
    axes.set_xlim(0, 1.12 * max(ends) or 1)  # room for the totals
    style.add_legend(figure, 5)
    style.save(figure, path)


def time_unit(totals: list[float]) -> tuple[float, str]:
    """Seconds and name of the unit in which the largest total reads well."""
    longest = max(totals)
    if longest < 120:
        return 1.0, "s"
    return (60.0, "min") if longest < 120 * 60 else (3600.0, "h")
