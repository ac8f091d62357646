"""Calibration: the true fraction of tissue against the predicted one (Guo et al. 2017).

With the error against retained voxels, for uncertainty from samples (Gros et al. 2020, section
4.4.4).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from softseg.core.types import Float64Array
from softseg.metrics.calibration import ReliabilityBins, ece
from softseg.render.figures import style
from softseg.render.figures.style import Colors

_LETTERS = 28  # in a line of the legend
# dots on the frame are drawn whole; the layout (which empty lines upset) ignores them
_DOTS: dict[str, Any] = {"markersize": 5, "clip_on": False, "in_layout": False}
_MEASURES = {
    "without": "entropy of the one pass",
    "entropy": "entropy of the samples",
    "mutualinfo": "mutual information",
}
_COLOR = style.colors(_MEASURES)
_PREDICTIONS = {"without": ("one pass", "without"), "with": ("mean of samples", "entropy")}
"""Key of the bins -> label, and the measure of uncertainty whose color it has."""


def plot_reliability(bins: Mapping[str, ReliabilityBins], path: Path, color: Colors) -> None:
    """Plot a line per candidate with a dot per bin; below, the voxels of each bin, log scale.

    bins: sums over the voxels of a set, for each candidate, all with as many bins; bins without a
    voxel have no dot.
    """
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
        upper.plot(predicted, true, marker[name], color=color[name], label=label, **_DOTS)
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


@dataclass(frozen=True, eq=False)
class UncertaintyCurves:
    """What is plotted for one target, over the volumes of a set."""

    errors: Mapping[str, Float64Array]  # without | entropy | mutualinfo: (20,), in %, at 5 .. 100 %
    ideal: Float64Array | None  # (20,), if wrong voxels were dropped first
    bins: Mapping[str, ReliabilityBins]  # without | with


def plot_uncertainty(targets: Mapping[str, UncertaintyCurves], path: Path) -> None:
    """Plot a row per target: the error of the retained voxels, and the reliability diagram."""
    figure = Figure(figsize=(style.WIDTH, 0.3 + 4.8 * len(targets)), layout="constrained")
    grid = figure.subplots(len(targets), 2, squeeze=False)
    for (left, right), (target, curves) in zip(grid, targets.items(), strict=True):
        name = style.wrap(target, 40)
        left.set_title(f"{name}: error of what is retained", **style.FONT)
        right.set_title(f"{name}: calibration", **style.FONT)
        _plot_errors(left, curves)
        _plot_bins(right, curves)
        for axes in (left, right):
            if axes.lines:  # below the panel, where the legend covers no line
                place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0, -0.16)}
                axes.legend(frameon=False, fontsize=style.SMALL, **place)
    style.save(figure, path)


def _plot_errors(axes: Axes, curves: UncertaintyCurves) -> None:
    """Plot the error of the retained voxels for each measure, with the ideal and chance."""
    style.tidy_axes(axes)
    axes.set_xlabel("retained voxels, the most certain first [%]", **style.FONT)
    axes.set_ylabel("wrong among them [%]", **style.FONT)
    axes.set_xlim(0, 100)
    ideal = curves.ideal
    if ideal is None:
        style.add_message(axes, "no truth in these scans")
        return
    percent = 100 * np.arange(1, len(ideal) + 1) / len(ideal)
    for measure, error in curves.errors.items():
        label = f"by {_MEASURES[measure]} (mean {style.format_number(float(error.mean()))})"
        axes.plot(percent, error, color=_COLOR[measure], linewidth=1.8, label=label)
    axes.axhline(ideal[-1], color="gray", linewidth=1, linestyle="dotted", label="at random")
    axes.plot(percent, ideal, color="gray", linewidth=1, linestyle="dashed", label="ideal")
    axes.set_ylim(0, None)


def _plot_bins(axes: Axes, curves: UncertaintyCurves) -> None:
    """Plot the reliability diagram of the one pass and of the mean of the samples."""
    style.tidy_axes(axes)
    axes.plot([0, 1], [0, 1], color="gray", linewidth=1, linestyle="dashed")
    for prediction, bins in curves.bins.items():
        name, measure = _PREDICTIONS[prediction]
        predicted, true = bin_means(bins)
        label = f"{name} ({ece_text(bins)})"
        color = _COLOR[measure]
        axes.plot(predicted, true, "-o", color=color, linewidth=1.8, label=label, **_DOTS)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_xlabel("predicted value", **style.FONT)
    axes.set_ylabel("mean truth of the bin", **style.FONT)
