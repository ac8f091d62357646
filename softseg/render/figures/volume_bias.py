"""The bias of predicted volumes by center, with its bootstrap interval (Bertels et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softseg.render.figures.reliability import key_columns, key_name
from softseg.render.figures.style import (
    FAINT,
    INK,
    MARKS,
    SMALL,
    TEXT,
    WIDTH,
    colors,
    rounds,
    save,
    say,
    tidy,
    wrapped,
)

PANELS = {"soft": "soft volume", "hard": "thresholded volume"}
"""The table's `volume` -> the panel's title."""


def draw(
    tables: Mapping[str, pd.DataFrame], path: Path, *, color: Mapping[str, str] | None = None
) -> None:
    """A row a center, in it a dot a candidate with its 95 % interval; soft and hard volumes.

    Args:
        tables: of each candidate, the rows of one target that
            `metrics.volume_bias.volume_bias_table` returns. A group that a candidate lacks, or
            where its bias is NaN, has no dot of it.
        path: the PNG to write.
        color: of each candidate; `colors` of these by default.
    """
    color = color or colors(tables)
    groups = list(dict.fromkeys(name for table in tables.values() for name in table["group"]))
    columns = key_columns(tables)
    key = 0.25 * -(-len(tables) // columns)
    row = max(0.45, 0.12 * len(tables) + 0.15)
    figure = Figure(figsize=(WIDTH, 1.4 + key + row * len(groups)), layout="constrained")
    panels = figure.subplots(1, len(PANELS), sharey=True, sharex=True)
    for axes, (volume, title) in zip(panels, PANELS.items(), strict=True):
        _panel(axes, {name: _of(table, volume, groups) for name, table in tables.items()}, color)
        axes.set_title(title, fontsize=TEXT, color=INK)
    names = [_row_name(group, tables) for group in groups]
    panels[0].set_yticks(range(len(groups)), names, fontsize=SMALL)
    panels[0].set_ylim(len(groups) - 0.5, -0.5)  # the first center on top
    note = "(dot: mean, line: 95 % bootstrap interval)"
    label = f"predicted \N{MINUS SIGN} true volume [ml]   {note}"
    figure.supxlabel(label, fontsize=TEXT, color=INK)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=columns,
        frameon=False,
        fontsize=SMALL,
    )
    save(figure, path)


def _of(table: pd.DataFrame, volume: str, groups: list[object]) -> pd.DataFrame:
    """bias_ml, low_ml, high_ml of each group, in order; NaN where there is none."""
    rows = table[table["volume"] == volume].set_index("group")
    return rows[["bias_ml", "low_ml", "high_ml"]].reindex(groups).astype(float)


def _panel(axes: Axes, rows: Mapping[str, pd.DataFrame], color: Mapping[str, str]) -> None:
    tidy(axes, grid="x")
    axes.axvline(0, color="gray", linewidth=1.2)
    step, again = 0.7 / len(rows), rounds(rows, color)
    for k, (name, row) in enumerate(rows.items()):
        heights = np.arange(len(row)) + (k - (len(rows) - 1) / 2) * step
        axes.hlines(heights, row["low_ml"], row["high_ml"], color=color[name], linewidth=2)
        dots: dict[str, Any] = {"color": color[name], "markersize": 5.5}
        mark = MARKS[again[name] % len(MARKS)]
        axes.plot(row["bias_ml"], heights, mark, label=key_name(name), **dots)
    for border in range(1, len(next(iter(rows.values())))):
        axes.axhline(border - 0.5, color=FAINT, linewidth=0.6)
    if not any(row["bias_ml"].notna().any() for row in rows.values()):
        say(axes, "no volume")


def _row_name(group: object, tables: Mapping[str, pd.DataFrame]) -> str:
    """The center with its number of subjects, least to most where candidates differ."""
    chosen = [table[table["group"] == group] for table in tables.values()]
    counts = pd.concat([rows["n"] for rows in chosen])
    low, high = int(counts.min()), int(counts.max())
    text = f"n = {low}" if low == high else f"n = {low} to {high}"
    left_out = int(pd.concat([rows["left_out"] for rows in chosen]).max())
    return f"{wrapped(str(group), 16)}\n{text}" + (f"\n{left_out} left out" if left_out else "")
