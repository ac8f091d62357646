"""Reliability diagram: the true share of tissue against the predicted one (Guo et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from softseg.metrics.calibration import ReliabilityBins, ece
from softseg.render.figures import style

_LETTERS = 28  # in a line of the legend


def plot_reliability(
    bins: Mapping[str, ReliabilityBins], path: Path, *, color: Mapping[str, str] | None = None
) -> None:
    """Plot a line per candidate with a dot per bin; below, the voxels of each bin, log scale.

    Args:
        bins: sums over the voxels of a set, for each candidate, all with as many bins; bins
            without a voxel have no dot.
        path: the PNG to write.
        color: of each candidate; `style.colors(bins)` by default.
    """
    color = color or style.colors(bins)
    columns = style.legend_columns(bins, _LETTERS)
    height = 6.2 + 0.42 * math.ceil(len(bins) / columns)
    figure = Figure(figsize=(style.WIDTH, height), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    style.tidy_axes(upper)
    upper.plot([0, 1], [0, 1], color="gray", linewidth=1, linestyle="dashed")
    gray: dict[str, Any] = {"fontsize": style.SMALL, "color": "#666666"}
    upper.text(0.02, 0.93, "predicted too low", ha="left", **gray)
    upper.text(0.98, 0.04, "predicted too high", ha="right", **gray)
    marker = style.markers(bins, color)
    for name, sums in bins.items():
        predicted, true = bin_means(sums)
        upper.plot(predicted, true, color=color[name], linewidth=1.8)
        label = f"{style.legend_name(name, _LETTERS)}\n{ece_text(sums)}"
        # dots on the frame are drawn whole; the layout (which empty lines upset) ignores them
        dots: dict[str, Any] = {"markersize": 5.0, "clip_on": False, "in_layout": False}
        upper.plot(predicted, true, marker[name], color=color[name], label=label, **dots)
    _plot_counts(lower, bins, color)
    upper.set(xlim=(0, 1), ylim=(0, 1), xticks=np.linspace(0, 1, 11))
    upper.set_ylabel("mean truth of the bin", **style.FONT)
    lower.set_xlabel("predicted value (dots: mean of the bin)", **style.FONT)
    style.add_legend(figure, columns)
    style.save(figure, path)


def bin_means(bins: ReliabilityBins) -> tuple[list[float], list[float]]:
    """Mean prediction and mean truth of the bins that have a voxel."""
    filled = bins.count > 0
    count = bins.count[filled]
    return (bins.predicted[filled] / count).tolist(), (bins.true[filled] / count).tolist()


def ece_text(bins: ReliabilityBins) -> str:
    """Expected calibration error for a legend: `ECE 0.048`."""
    error = ece(bins)
    return "no voxel" if np.isnan(error) else f"ECE {style.format_number(error)}"


def _plot_counts(axes: Axes, bins: Mapping[str, ReliabilityBins], color: Mapping[str, str]) -> None:
    """Plot a bar per bin and candidate: its number of voxels on a log axis."""
    style.tidy_axes(axes, grid="y")
    for k, (name, sums) in enumerate(bins.items()):
        width = 0.8 / len(sums.count) / len(bins)
        filled = np.flatnonzero(sums.count)  # a log axis has no place for 0
        left = (filled + 0.1) / len(sums.count) + k * width
        axes.bar(left, sums.count[filled], width, align="edge", color=color[name])
    most = max(float(sums.count.max(initial=1)) for sums in bins.values())
    axes.set_yscale("log")
    axes.set_ylim(0.7, 2 * most)  # so that a bar of a single voxel is visible
    axes.yaxis.set_major_locator(LogLocator(numticks=5))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("voxels", **style.FONT)
