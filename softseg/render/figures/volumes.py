"""Volumes: agreement with the truth by subject, and bias by center."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from softseg.core.types import AnyArray
from softseg.render.figures import style
from softseg.render.figures.groups import LETTERS, plot_interval_rows, rows_height
from softseg.render.figures.style import Colors

PANELS = {"soft": "soft volume", "hard": "thresholded volume"}
"""`volume` of the table -> title of the panel."""
_DIFFERENCE = "predicted \N{MINUS SIGN} true volume [ml]"


@dataclass(frozen=True)
class Agreement:
    """Bias (mean difference) and limits of agreement, bias ± 1.96 SD; NaN if undefined."""

    bias: float
    low: float
    high: float


def plot_bland_altman(
    volumes: Mapping[str, tuple[AnyArray, AnyArray]], path: Path, color: Colors
) -> None:
    """Plot a panel per candidate: a dot per subject, bias and limits. All have the same axes.

    volumes: predicted and true volumes of each candidate in ml, both (N,); a subject with a NaN is
    left out.
    """
    figure, grid = style.panels(len(volumes), 3, 2.9, sharex=True, sharey=True)
    for axes, (name, (predicted, true)) in zip(grid, volumes.items(), strict=True):
        mean, difference = means_and_differences(predicted, true)
        limits = agreement(difference)
        style.tidy_axes(axes)
        axes.axhline(0, color="gray", linewidth=0.8)
        dots: dict[str, Any] = {"color": color[name], "edgecolors": style.darker(color[name])}
        axes.scatter(mean, difference, s=20, linewidths=0.4, zorder=3, **dots)
        lines = ((limits.bias, "solid"), (limits.low, "dashed"), (limits.high, "dashed"))
        for height, dash in lines:
            if np.isfinite(height):
                axes.axhline(height, color=style.INK, linewidth=1.2, linestyle=dash, zorder=2)
        style.title_panel(axes, name, f"\n{_describe(limits)}")
    note = "(line: bias, dashed: limits of agreement, bias ± 1.96 SD)"
    figure.supxlabel(f"mean of predicted and true volume [ml]   {note}", **style.FONT)
    figure.supylabel(f"{_DIFFERENCE}\n(> 0: over-segmentation)", **style.FONT)
    style.save(figure, path)


def means_and_differences(predicted: AnyArray, true: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Means and differences (predicted - true) of the pairs without NaN."""
    both = np.stack([np.asarray(predicted, float), np.asarray(true, float)])
    both = both[:, np.isfinite(both).all(axis=0)]
    return both.mean(axis=0), both[0] - both[1]


def agreement(difference: AnyArray) -> Agreement:
    """Bias and limits of differences (N,), with the sample SD; NaN if N is too small."""
    bias = float(difference.mean()) if len(difference) else float("nan")
    reach = 1.96 * float(difference.std(ddof=1)) if len(difference) > 1 else float("nan")
    return Agreement(bias, bias - reach, bias + reach)


def _describe(limits: Agreement) -> str:
    """Text for the title: next to the lines, the numbers of close lines would overlap."""
    if np.isnan(limits.bias):
        return "no volumes\n"
    if np.isnan(limits.low):
        return f"bias {style.format_number(limits.bias, sign='+')} ml\nlimits undefined"
    size = max(abs(limits.low), abs(limits.high))  # the same decimals for all three
    values = (limits.bias, limits.low, limits.high)
    bias, low, high = (style.format_number(value, size, "+") for value in values)
    return f"bias {bias} ml\nlimits {low} to {high} ml"


def plot_volume_bias(tables: Mapping[str, pd.DataFrame], path: Path, color: Colors) -> None:
    """Plot a row per center with a dot per candidate and its 95 % interval; soft and hard volumes.

    tables: of each candidate, the rows of one target that `metrics.volume_bias.volume_bias_table`
    returns. A candidate has no dot in a group that it lacks, or where its bias is NaN.
    """
    groups = list(dict.fromkeys(name for table in tables.values() for name in table["group"]))
    figure = Figure(figsize=(style.WIDTH, rows_height(tables, groups)), layout="constrained")
    panels = figure.subplots(1, len(PANELS), sharey=True, sharex=True)
    for axes, (volume, title) in zip(panels, PANELS.items(), strict=True):
        rows = {}
        for name, table in tables.items():
            by_group = table[table["volume"] == volume].set_index("group")
            biases = by_group[["bias_ml", "low_ml", "high_ml"]].reindex(groups)
            rows[name] = biases.astype(float).set_axis(["mean", "low", "high"], axis=1)
        plot_interval_rows(axes, rows, color)
        axes.axvline(0, color="gray", linewidth=1.2, zorder=1)
        if not any(row["mean"].notna().any() for row in rows.values()):
            style.add_message(axes, "no volume")
        axes.set_title(title, **style.FONT)
    style.label_rows(panels[0], [_row_name(group, tables) for group in groups])
    note = "(> 0: over-segmentation; dot: mean, line: 95 % bootstrap interval)"
    figure.supxlabel(f"{_DIFFERENCE}   {note}", **style.FONT)
    handles, labels = panels[0].get_legend_handles_labels()
    columns = style.legend_columns(tables, LETTERS)
    style.add_legend(figure, columns, handles=handles, labels=labels)
    style.save(figure, path)


def _row_name(group: object, tables: Mapping[str, pd.DataFrame]) -> str:
    """The center with its number of subjects, least to most if candidates differ."""
    rows = pd.concat([table[table["group"] == group] for table in tables.values()])
    low, high, left_out = int(rows["n"].min()), int(rows["n"].max()), int(rows["left_out"].max())
    count = f"n = {low}" if low == high else f"n = {low} to {high}"
    note = f"\n{left_out} left out" if left_out else ""
    return f"{style.wrap(str(group), 16)}\n{count}{note}"
