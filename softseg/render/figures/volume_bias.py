"""The bias of predicted volumes by center, with its bootstrap interval (Bertels et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softseg.render.figures import style

PANELS = {"soft": "soft volume", "hard": "thresholded volume"}
"""`volume` of the table -> title of the panel."""
_LETTERS = 28  # in a line of the legend


def plot_volume_bias(
    tables: Mapping[str, pd.DataFrame], path: Path, *, color: Mapping[str, str] | None = None
) -> None:
    """Plot a row per center with a dot per candidate and its 95 % interval; soft and hard volumes.

    Args:
        tables: of each candidate, the rows of one target that
            `metrics.volume_bias.volume_bias_table` returns. A candidate has no dot in a group
            that it lacks, or where its bias is NaN.
        path: the PNG to write.
        color: of each candidate; `style.colors(tables)` by default.
    """
    color = color or style.colors(tables)
    groups = list(dict.fromkeys(name for table in tables.values() for name in table["group"]))
    columns = style.legend_columns(tables, _LETTERS)
    legend = 0.25 * math.ceil(len(tables) / columns)  # inches, as is
    row = max(0.45, 0.12 * len(tables) + 0.15)
    figure = Figure(figsize=(style.WIDTH, 1.4 + legend + row * len(groups)), layout="constrained")
    panels = figure.subplots(1, len(PANELS), sharey=True, sharex=True)
    for axes, (volume, title) in zip(panels, PANELS.items(), strict=True):
        rows = {}
        for name, table in tables.items():
            by_group = table[table["volume"] == volume].set_index("group")
            biases = by_group[["bias_ml", "low_ml", "high_ml"]].reindex(groups)
            rows[name] = biases.astype(float)
        _plot_panel(axes, rows, color)
        axes.set_title(title, **style.FONT)
    names = [_row_name(group, tables) for group in groups]
    panels[0].set_yticks(range(len(groups)), names, fontsize=style.SMALL)
    panels[0].set_ylim(len(groups) - 0.5, -0.5)  # the first center on top
    note = "(dot: mean, line: 95 % bootstrap interval)"
    figure.supxlabel(f"predicted \N{MINUS SIGN} true volume [ml]   {note}", **style.FONT)
    handles, labels = panels[0].get_legend_handles_labels()
    style.add_legend(figure, columns, handles=handles, labels=labels)
    style.save(figure, path)


def _plot_panel(axes: Axes, rows: Mapping[str, pd.DataFrame], color: Mapping[str, str]) -> None:
    """Plot the bias of each candidate (its rows are the groups) and lines between the groups."""
    style.tidy_axes(axes, grid="x")
    axes.axvline(0, color="gray", linewidth=1.2)
    step, marker = 0.7 / len(rows), style.markers(rows, color)
    for k, (name, row) in enumerate(rows.items()):
        heights = np.arange(len(row)) + (k - (len(rows) - 1) / 2) * step
        axes.hlines(heights, row["low_ml"], row["high_ml"], color=color[name], linewidth=2)
        dots: dict[str, Any] = {"color": color[name], "markersize": 5.5}
        label = style.legend_name(name, _LETTERS)
        axes.plot(row["bias_ml"], heights, marker[name], label=label, **dots)
    for border in range(1, len(next(iter(rows.values())))):
        axes.axhline(border - 0.5, color=style.FAINT, linewidth=0.6)
    if not any(row["bias_ml"].notna().any() for row in rows.values()):
        style.add_message(axes, "no volume")


def _row_name(group: object, tables: Mapping[str, pd.DataFrame]) -> str:
    """The center with its number of subjects, least to most if candidates differ."""
    rows = pd.concat([table[table["group"] == group] for table in tables.values()])
    low, high, left_out = int(rows["n"].min()), int(rows["n"].max()), int(rows["left_out"].max())
    count = f"n = {low}" if low == high else f"n = {low} to {high}"
    note = f"\n{left_out} left out" if left_out else ""
    return f"{style.wrap(str(group), 16)}\n{count}{note}"
