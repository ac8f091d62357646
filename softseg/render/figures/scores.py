"""The score of every subject, for each candidate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softseg.core.types import AnyArray, Float64Array
from softseg.render.figures.style import (
    INK,
    SMALL,
    TEXT,
    WIDTH,
    colors,
    darker,
    number,
    save,
    tidy,
    wrapped,
)


def draw(
    values: Mapping[str, AnyArray],
    path: Path,
    label: str = "Dice [%]",
    *,
    color: Mapping[str, str] | None = None,
) -> None:
    """One strip a candidate: a dot a subject, a box from the first to the third quartile.

    Args:
        values: of each candidate, one value a subject, (N,); NaN is left out and counted.
        path: the PNG to write.
        label: name and unit of the values.
        color: of each candidate; `colors` of these by default.
    """
    color = color or colors(values)
    figure = Figure(figsize=(WIDTH, 0.9 + 0.62 * len(values)), layout="constrained")
    axes = figure.subplots()
    tidy(axes, grid="x")
    axes.use_sticky_edges = False  # a box must not touch the frame
    largest = max(np.abs(defined(one)).max(initial=0) for one in values.values())
    for row, (name, all_values) in enumerate(values.items()):
        kept = defined(all_values)
        _strip(axes, row, kept, color[name])
        note = in_words(kept, len(all_values), largest)
        beside = axes.get_yaxis_transform()
        axes.text(1.01, row, note, transform=beside, va="center", fontsize=SMALL, color=INK)
    axes.set_yticks(range(len(values)), [wrapped(name, 18) for name in values], fontsize=SMALL)
    axes.set_ylim(len(values) - 0.5, -0.5)  # the first candidate on top
    note = "(dot: subject, box: quartiles, line: median)"
    axes.set_xlabel(f"{label}   {note}", fontsize=TEXT, color=INK)
    save(figure, path)


def defined(values: AnyArray) -> Float64Array:
    """The finite ones of (N,)."""
    flat = np.asarray(values, dtype=np.float64)
    return flat[np.isfinite(flat)]


def spread(count: int) -> Float64Array:
    """Offsets (N,) in (-0.5, 0.5) that keep dots apart: multiples of the golden ratio, modulo 1.

    The same for the same number of subjects, so that a figure drawn again is the same.
    """
    return np.asarray(np.arange(1, count + 1) * 0.6180339887498949 % 1 - 0.5)


def in_words(values: AnyArray, total: int, size: float) -> str:
    """Median and number of the defined values, `total` with the others; places as for `size`."""
    count = f"n = {total}" if len(values) == total else f"n = {len(values)} of {total}"
    return f"median {number(float(np.median(values)), size)}\n{count}" if len(values) else count


def _strip(axes: Axes, row: int, values: AnyArray, color: str) -> None:
    if not len(values):
        return
    low, middle, high = np.percentile(values, [25, 50, 75])
    axes.barh(row, high - low, 0.6, low, color=color, alpha=0.25, linewidth=0)
    axes.vlines(middle, row - 0.3, row + 0.3, color=INK, linewidth=2, zorder=4)
    dots: dict[str, Any] = {"s": 16, "color": color, "edgecolors": darker(color)}
    heights = row + 0.5 * spread(len(values))
    axes.scatter(values, heights, linewidths=0.4, zorder=3, **dots)
