"""The score of every subject, for each candidate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from softseg.core.types import AnyArray, Float64Array
from softseg.render.figures import style
from softseg.render.figures.style import Colors


def plot_scores(values: Mapping[str, AnyArray], path: Path, color: Colors) -> None:
    """Plot a strip per candidate: a dot per subject, a box from the first to the third quartile.

    values: Dice [%] of each candidate, one per subject, (N,); NaN is left out and counted.
    """
    finite = {}
    for name, all_scores in values.items():
        flat = np.asarray(all_scores, dtype=np.float64)
        finite[name] = flat[np.isfinite(flat)]
    largest = max(np.abs(scores).max(initial=0) for scores in finite.values())
    figure = Figure(figsize=(style.WIDTH, 0.9 + 0.62 * len(values)), layout="constrained")
    axes = figure.subplots()
    style.tidy_axes(axes, grid="x")
    axes.use_sticky_edges = False  # a box must not touch the frame
    for row, (name, scores) in enumerate(finite.items()):
        total = len(values[name])
        note = f"n = {total}" if len(scores) == total else f"n = {len(scores)} of {total}"
        if len(scores):
            low, middle, high = np.percentile(scores, [25, 50, 75])
            axes.barh(row, high - low, 0.6, low, color=color[name], alpha=0.25, linewidth=0)
            axes.vlines(middle, row - 0.3, row + 0.3, color=style.INK, linewidth=2, zorder=4)
            dots: dict[str, Any] = {"color": color[name], "edgecolors": style.darker(color[name])}
            heights = row + 0.5 * spread(len(scores))
            axes.scatter(scores, heights, s=16, linewidths=0.4, zorder=3, **dots)
            note = f"median {style.format_number(float(np.median(scores)), largest)}\n{note}"
        right_of_axes = axes.get_yaxis_transform()
        axes.text(1.01, row, note, transform=right_of_axes, va="center", **style.SMALL_FONT)
    style.label_rows(axes, [style.wrap(name, 18) for name in values])
    axes.set_xlabel("Dice [%]   (dot: subject, box: quartiles, line: median)", **style.FONT)
    style.save(figure, path)


def spread(count: int) -> Float64Array:
    """Offsets (N,) in (-0.5, 0.5) that keep dots apart: multiples of the golden ratio, modulo 1.

    The same for the same number of subjects, so that a figure can be reproduced.
    """
    return np.asarray(np.arange(1, count + 1) * 0.6180339887498949 % 1 - 0.5)
