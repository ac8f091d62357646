"""Reliability diagram: the true share of tissue against the predicted one (Guo et al. 2017)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from softseg.metrics.calibration import ReliabilityBins, ece
from softseg.render.figures.style import (
    INK,
    MARKS,
    SMALL,
    TEXT,
    WIDTH,
    colors,
    number,
    rounds,
    save,
    tidy,
    wrapped,
)

_NAME = 28  # letters in a line of the key


def draw(
    bins: Mapping[str, ReliabilityBins], path: Path, *, color: Mapping[str, str] | None = None
) -> None:
    """Above, a line a candidate with a dot a bin; below, the voxels of each bin, log scale.

    Args:
        bins: of each candidate, the sums over the voxels of a set, all with as many bins; bins
            without a voxel have no dot.
        path: the PNG to write.
        color: of each candidate; `colors` of these by default.
    """
    color = color or colors(bins)
    columns = key_columns(bins)
    size = (WIDTH, 6.2 + 0.42 * -(-len(bins) // columns))
    figure = Figure(figsize=size, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _diagonal(upper)
    again = rounds(bins, color)
    for name, one in bins.items():
        predicted, true = means(one)
        upper.plot(predicted, true, color=color[name], linewidth=1.8)
        # whole dots on the frame, for which the layout (upset by none at all) need not make room
        look: dict[str, Any] = {"markersize": 5.0, "clip_on": False, "in_layout": False}
        mark = MARKS[again[name] % len(MARKS)]
        upper.plot(predicted, true, mark, color=color[name], label=_label(name, one), **look)
    _counts(lower, bins, color)
    upper.set(xlim=(0, 1), ylim=(0, 1), xticks=np.linspace(0, 1, 11))
    upper.set_ylabel("mean truth of the bin", fontsize=TEXT, color=INK)
    lower.set_xlabel("predicted value (dots: mean of the bin)", fontsize=TEXT, color=INK)
    figure.legend(loc="outside upper center", ncols=columns, frameon=False, fontsize=SMALL)
    save(figure, path)


def means(bins: ReliabilityBins) -> tuple[list[float], list[float]]:
    """Mean q and mean y of the bins that have a voxel."""
    filled = bins.count > 0
    count = bins.count[filled]
    return (bins.predicted[filled] / count).tolist(), (bins.true[filled] / count).tolist()


def _diagonal(axes: Axes) -> None:
    tidy(axes)
    axes.plot([0, 1], [0, 1], color="gray", linewidth=1, linestyle="dashed")
    gray: dict[str, Any] = {"fontsize": SMALL, "color": "#666666"}
    axes.text(0.02, 0.93, "predicted too low", ha="left", **gray)
    axes.text(0.98, 0.04, "predicted too high", ha="right", **gray)


def _counts(axes: Axes, bins: Mapping[str, ReliabilityBins], color: Mapping[str, str]) -> None:
    tidy(axes, grid="y")
    for k, (name, one) in enumerate(bins.items()):
        width = 0.8 / len(one.count) / len(bins)
        filled = np.flatnonzero(one.count)  # a log axis has no place for 0
        left = (filled + 0.1) / len(one.count) + k * width
        axes.bar(left, one.count[filled], width, align="edge", color=color[name])
    most = max(float(one.count.max(initial=1)) for one in bins.values())
    axes.set_yscale("log")
    axes.set_ylim(0.7, 2 * most)  # a single voxel is seen
    axes.yaxis.set_major_locator(LogLocator(numticks=5))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("voxels", fontsize=TEXT, color=INK)


def key_name(name: str) -> str:
    """A candidate's name in the key.

    With a space before an underscore: matplotlib leaves out names that begin with one.
    """
    return f"{' ' * name.startswith('_')}{wrapped(name, _NAME)}"


def key_columns(names: Collection[str]) -> int:
    """Equal columns of a key: what the longest name, in inches, lets stand beside each other."""
    longest = max(12, min(_NAME, max(len(name) for name in names)))
    most = max(1, int(WIDTH / (0.6 + 0.08 * longest)))
    return -(-len(names) // -(-len(names) // most))


def _label(name: str, bins: ReliabilityBins) -> str:
    error = ece(bins)
    return f"{key_name(name)}\n{'no voxel' if np.isnan(error) else f'ECE {number(error)}'}"
