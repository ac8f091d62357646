"""Learning curves: losses and validation Dice over epochs, all runs of each candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from softseg.render.figures.style import INK, TEXT, WIDTH, colors, darker, save, say, tidy, wrapped

_COLUMNS = {
    "train_loss": "training loss",
    "val_loss": "validation loss",
    "val_dice": "validation Dice [%]",
}


def draw(
    histories: Mapping[str, Sequence[pd.DataFrame]],
    path: Path,
    *,
    color: Mapping[str, str] | None = None,
) -> None:
    """One row a candidate: training loss, validation loss, validation Dice [%].

    The two losses of a candidate share an axis, so that overfitting shows as a gap; losses of
    different candidates do not (Dice and Adaptive Wing cannot be compared). Dice does.

    Args:
        histories: of each candidate and run, `history.csv`: columns epoch, train_loss, val_loss,
            val_dice [%]; runs may differ in length. A candidate may have no run.
        path: the PNG to write.
        color: of each candidate; `colors` of these by default.
    """
    color = color or colors(histories)
    figure = Figure(figsize=(WIDTH, 0.9 + 1.45 * len(histories)), layout="constrained")
    grid = figure.subplots(len(histories), 3, squeeze=False, sharex=True)
    for row, (name, runs) in zip(grid, histories.items(), strict=True):
        row[1].sharey(row[0])
        row[2].sharey(grid[0, 2])
        _row(row, runs, color[name])
        row[1].tick_params(labelleft=False)
        row[0].set_ylabel(wrapped(name, 16), fontsize=TEXT, color=INK)
    grid[0, 0].xaxis.set_major_locator(MaxNLocator(integer=True))  # there is no epoch 2.5
    for axes, title in zip(grid[0], _COLUMNS.values(), strict=True):
        axes.set_title(title, fontsize=TEXT, color=INK)
    several = any(len(runs) > 1 for runs in histories.values())
    note = "   (thin: each run, thick: their median)" if several else ""
    figure.supxlabel(f"epoch{note}", fontsize=TEXT, color=INK)
    save(figure, path)


def median(runs: Sequence[pd.Series[Any]]) -> pd.Series[float]:
    """Median over runs at each epoch (the index) that at least half of them reached.

    Beyond, the few that went on would make the line jump.
    """
    table = pd.concat(list(runs), axis=1)
    return table[2 * table.count(axis=1) >= len(runs)].median(axis=1)


def needs_log(values: pd.Series[Any]) -> bool:
    """Whether a log axis reads better: all above 0, the largest over ten times the least."""
    return bool(len(values) and values.min() > 0 and values.max() > 10 * values.min())


def _row(row: Sequence[Axes], runs: Sequence[pd.DataFrame], color: str) -> None:
    indexed = [run.set_index("epoch").replace([np.inf, -np.inf], np.nan) for run in runs]
    for axes, column in zip(row, _COLUMNS, strict=True):
        tidy(axes)
        series = [run[column].dropna() for run in indexed]
        if not any(map(len, series)):
            say(axes, "no values")
            continue
        _lines(axes, series, color)
    losses = [run[column].dropna() for run in indexed for column in ("train_loss", "val_loss")]
    if losses and needs_log(pd.concat(losses)):
        _log(row[0])  # the other shares it


def _log(axes: Axes) -> None:
    """Plain numbers, and enough of them where there are only one or two decades."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _lines(axes: Axes, series: Sequence[pd.Series[Any]], color: str) -> None:
    several = len(series) > 1
    for one in series if several else ():
        axes.plot(
            one.index, one, color=color, linewidth=0.7, alpha=min(0.6, max(0.25, 3 / len(series)))
        )
    middle = median(series)
    dot = "o" if len(middle) == 1 else None  # a line needs two points
    shade = darker(color) if several else color
    axes.plot(middle.index, middle, color=shade, linewidth=1.5, marker=dot, markersize=4)
