"""Plot bias against probability: a column per loss, a row per number of parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from bias_closed_form import Region, volume_bias
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softseg.render.figures.style import INK, SMALL, TEXT, WIDTH, save, tidy_axes, wrap

LINES = np.linspace(0.0025, 0.9975, 200)
"""The p at which the closed form is plotted; not 0.5, where Dice has two optima."""
STYLES = {
    "soft": {"color": "#3f90da", "marker": "o", "linestyle": "-"},
    "hard": {"color": "#bd1f01", "marker": "x", "linestyle": "--"},
}
"""Volume -> style of its points and its line."""


def plot_bias(table: pd.DataFrame, path: Path) -> None:
    """Plot measured points over closed-form lines, of soft and thresholded volumes.

    Args:
        table: columns `parts`, `candidate`, `probability`, `soft_bias` and `hard_bias`.
        path: the PNG to write.
    """
    losses, counts = table["candidate"].unique(), table["parts"].unique()
    figure = Figure(figsize=(WIDTH, 0.9 + 2.0 * len(counts)), layout="constrained")
    grid = figure.subplots(len(counts), len(losses), sharex=True, sharey=True, squeeze=False)
    for line, parts in zip(grid, counts, strict=True):
        for axes, loss in zip(line, losses, strict=True):
            rows = table[(table["parts"] == parts) & (table["candidate"] == loss)]
            _panel(axes, rows, loss, int(parts))
        line[0].set_ylabel(f"K = {parts}", fontsize=TEXT, color=INK)
    for axes, loss in zip(grid[0], losses, strict=True):
        axes.set_title(wrap(loss, 13), fontsize=TEXT, color=INK)
    figure.supxlabel("probability p of a part to be foreground", fontsize=TEXT, color=INK)
    figure.supylabel("volume bias (1: the certain region)", fontsize=TEXT, color=INK)
    _add_key(figure, grid[0, 0])
    save(figure, path)


def _panel(axes: Axes, rows: pd.DataFrame, loss: str, parts: int) -> None:
    tidy_axes(axes)
    axes.axhline(0, color="gray", linewidth=1)
    for volume, style in STYLES.items():
        curve = [volume_bias(loss, Region(p, parts), volume == "hard") for p in LINES]
        color, dashes = style["color"], style["linestyle"]
        axes.plot(
            LINES, curve, color=color, linestyle=dashes, linewidth=1.2,
            label=f"{volume}, closed form",
        )  # fmt: skip
        axes.plot(
            rows["probability"], rows[f"{volume}_bias"], style["marker"], color=color,
            markersize=5, label=f"{volume}, measured",
        )  # fmt: skip
    axes.set(xlim=(0, 1), xticks=(0, 0.5, 1))


def _add_key(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=SMALL
    )
