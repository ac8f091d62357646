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
from softseg.metrics.calibration import ReliabilityBins, ece
from softseg.render.figures.reliability import means
from softseg.render.figures.style import (
    INK,
    SMALL,
    TEXT,
    WIDTH,
    colors,
    number,
    save,
    say,
    tidy,
    wrapped,
)

_BY = {
    "without": "entropy of the one pass",
    "entropy": "entropy of the samples",
    "mutualinfo": "mutual information",
}
_COLOR = colors(_BY)
_BINS = {"without": ("one pass", "without"), "with": ("mean of samples", "entropy")}


@dataclass(frozen=True, eq=False)
class Shown:
    """Of one target, over the volumes of a set."""

    errors: Mapping[str, Float64Array]  # by without | entropy | mutualinfo: (20,), in %
    ideal: Float64Array | None  # (20,), if what is wrong were left out first
    bins: Mapping[str, ReliabilityBins]  # without | with


def draw(shown: Mapping[str, Shown], path: Path) -> None:
    """A row a target: left the error of the retained voxels, right the reliability diagram.

    Args:
        shown: of each target; errors at 5, 10 .. 100 % of the voxels.
        path: the PNG to write.
    """
    figure = Figure(figsize=(WIDTH, 0.3 + 4.8 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), 2, squeeze=False)
    for (left, right), (target, one) in zip(grid, shown.items(), strict=True):
        name = wrapped(target, 40)
        left.set_title(f"{name}: error of what is retained", fontsize=TEXT, color=INK)
        right.set_title(f"{name}: calibration", fontsize=TEXT, color=INK)
        _draw_errors(left, one)
        _draw_bins(right, one)
    save(figure, path)


def _draw_errors(axes: Axes, one: Shown) -> None:
    tidy(axes)
    axes.set_xlabel("retained voxels, the most certain first [%]", fontsize=TEXT, color=INK)
    axes.set_ylabel("wrong among them [%]", fontsize=TEXT, color=INK)
    axes.set_xlim(0, 100)
    if one.ideal is None:
        say(axes, "no truth in these scans")
        return
    share = 100 * np.arange(1, len(one.ideal) + 1) / len(one.ideal)
    for by, error in one.errors.items():
        label = f"by {_BY[by]} (mean {number(float(error.mean()))})"
        axes.plot(share, error, color=_COLOR[by], linewidth=1.8, label=label)
    axes.axhline(one.ideal[-1], color="gray", linewidth=1, linestyle="dotted", label="at random")
    axes.plot(share, one.ideal, color="gray", linewidth=1, linestyle="dashed", label="ideal")
    axes.set_ylim(0, None)
    _key(axes)


def _draw_bins(axes: Axes, one: Shown) -> None:
    tidy(axes)
    axes.plot([0, 1], [0, 1], color="gray", linewidth=1, linestyle="dashed")
    for name, bins in one.bins.items():
        heading, like = _BINS[name]
        error = ece(bins)
        told = "no voxel" if np.isnan(error) else f"ECE {number(error)}"
        predicted, true = means(bins)
        # whole dots on the frame, for which the layout (upset by none at all) need not make room
        look: dict[str, Any] = {"color": _COLOR[like], "clip_on": False, "in_layout": False}
        axes.plot(predicted, true, "-o", linewidth=1.8, markersize=5, **look,
                  label=f"{heading} ({told})")  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_xlabel("predicted value", fontsize=TEXT, color=INK)
    axes.set_ylabel("mean truth of the bin", fontsize=TEXT, color=INK)
    _key(axes)


def _key(axes: Axes) -> None:
    """Below the panel, where it covers no line."""
    where: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0, -0.16)}
    axes.legend(frameon=False, fontsize=SMALL, **where)
