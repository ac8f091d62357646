"""Error against retained voxels, and calibration with and without samples (SoftSeg 4.4.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softseg.core.types import Float64Array
from softseg.metrics.calibration import ReliabilityBins
from softseg.render.figures import style
from softseg.render.figures.reliability import bin_means, ece_text

_MEASURES = {
    "without": "entropy of the one pass",
    "entropy": "entropy of the samples",
    "mutualinfo": "mutual information",
}
_COLOR = style.colors(_MEASURES)
_PREDICTIONS = {"without": ("one pass", "without"), "with": ("mean of samples", "entropy")}
"""Key of the bins -> label, and the measure of uncertainty whose color it has."""


@dataclass(frozen=True, eq=False)
class UncertaintyCurves:
    """What is plotted for one target, over the volumes of a set."""

    errors: Mapping[str, Float64Array]  # by without | entropy | mutualinfo: (20,), in %
    ideal: Float64Array | None  # (20,), if wrong voxels were dropped first
    bins: Mapping[str, ReliabilityBins]  # without | with


def plot_uncertainty(targets: Mapping[str, UncertaintyCurves], path: Path) -> None:
    """Plot a row per target: the error of the retained voxels, and the reliability diagram.

    Args:
        targets: curves of each target; errors at 5, 10 .. 100 % of the voxels.
        path: the PNG to write.
    """
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
    share = 100 * np.arange(1, len(ideal) + 1) / len(ideal)
    for measure, error in curves.errors.items():
        label = f"by {_MEASURES[measure]} (mean {style.format_number(float(error.mean()))})"
        axes.plot(share, error, color=_COLOR[measure], linewidth=1.8, label=label)
    axes.axhline(ideal[-1], color="gray", linewidth=1, linestyle="dotted", label="at random")
    axes.plot(share, ideal, color="gray", linewidth=1, linestyle="dashed", label="ideal")
    axes.set_ylim(0, None)


def _plot_bins(axes: Axes, curves: UncertaintyCurves) -> None:
    """Plot the reliability diagram of the one pass and of the mean of the samples."""
    style.tidy_axes(axes)
    axes.plot([0, 1], [0, 1], color="gray", linewidth=1, linestyle="dashed")
    for prediction, bins in curves.bins.items():
        name, measure = _PREDICTIONS[prediction]
        predicted, true = bin_means(bins)
        label = f"{name} ({ece_text(bins)})"
        # dots on the frame are drawn whole; the layout (which empty lines upset) ignores them
        dots: dict[str, Any] = {"markersize": 5, "clip_on": False, "in_layout": False}
        color = _COLOR[measure]
        axes.plot(predicted, true, "-o", color=color, linewidth=1.8, label=label, **dots)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_xlabel("predicted value", **style.FONT)
    axes.set_ylabel("mean truth of the bin", **style.FONT)
