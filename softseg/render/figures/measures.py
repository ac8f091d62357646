"""Figures of measured segmentations: volumes with intervals, areas by slice, repeated scans."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from softseg.render.figures import style

KINDS = ("soft", "binary")
_COLORS = style.colors(KINDS)
_HEIGHT = 2.9  # inches of a row of panels


def plot_volumes(scans: pd.DataFrame, path: Path, level: float) -> None:
    """Plot a panel per target: each scan's soft and binary volume, in the order of the soft one.

    `scans` has the columns `target`, `soft_ml`, `binary_ml` and, with intervals, `soft_low_ml`,
    `soft_high_ml` etc.; `level` is their probability.
    """
    groups = list(scans.groupby("target", sort=False))
    figure, grid = style.panels(len(groups), 1, _HEIGHT)
    for axes, (target, unordered) in zip(grid, groups, strict=True):
        members = unordered.sort_values("soft_ml", kind="stable")
        style.tidy_axes(axes, grid="y")
        size = 20 if len(members) <= 40 else 8
        for kind, shift in zip(KINDS, (-0.15, 0.15), strict=True):
            ranks, volumes = np.arange(1, len(members) + 1) + shift, members[f"{kind}_ml"]
            dots: dict[str, Any] = {"color": _COLORS[kind], "s": size, "zorder": 3}
            axes.scatter(ranks, volumes, label=kind, **dots)
            if f"{kind}_low_ml" in members:
                ends = members[f"{kind}_low_ml"], members[f"{kind}_high_ml"]
                axes.vlines(ranks, *ends, color=_COLORS[kind], linewidth=1, alpha=0.6)
        axes.set_ylabel("volume [ml]", **style.FONT)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        style.title_panel(axes, str(target))
    note = f"   (line: {100 * level:g} % interval)" if "soft_low_ml" in scans else ""
    figure.supxlabel(f"scan, in the order of the soft volume{note}", **style.FONT)
    _add_legend(figure)
    style.save(figure, path)


def plot_areas(slices: pd.DataFrame, path: Path, axis: str) -> None:
    """Plot a row of two panels per target: the area of each slice of each scan, soft and binary.

    `slices` has the columns `scan`, `target`, `position_mm`, `soft_mm2` and `binary_mm2`; `axis`
    is the name of the direction. The position is relative to the middle of the scan.
    """
    groups = list(slices.groupby("target", sort=False))
    figure = Figure(figsize=(style.WIDTH, 0.7 + _HEIGHT * len(groups)), layout="constrained")
    grid = figure.subplots(len(groups), 2, squeeze=False, sharey="row", sharex=True)
    for row, (target, members) in zip(grid, groups, strict=True):
        scans = list(members.groupby("scan", sort=False))
        look = {"linewidth": 1.2, "alpha": max(0.15, min(1, 8 / len(scans)))}
        for axes, kind in zip(row, KINDS, strict=True):
            style.tidy_axes(axes)
            for _, scan in scans:
                position = scan["position_mm"] - scan["position_mm"].mean()
                axes.plot(position, scan[f"{kind}_mm2"], color=_COLORS[kind], marker=".", **look)
            style.title_panel(axes, f"{target}, {kind}")
        row[0].set_ylabel("area [mm²]", **style.FONT)
        row[0].set_ylim(bottom=0)
    text = f"position {axis} [mm from the middle of the scan]   (line: scan)"
    figure.supxlabel(text, **style.FONT)
    style.save(figure, path)


def plot_repeated_volumes(
    scans: pd.DataFrame, groups: Mapping[str, str], repeatability: pd.DataFrame, path: Path
) -> None:
    """Plot a row of two panels per target: deviations of repeated scans from their mean volume.

    `scans` has the columns `scan`, `target`, `soft_ml` and `binary_ml`, `groups` the group of each
    scan, and `repeatability` the columns `target`, `volume` and `sdw_ml`.
    """
    targets = list(dict.fromkeys(repeatability["target"]))
    figure = Figure(figsize=(style.WIDTH, 0.7 + _HEIGHT * len(targets)), layout="constrained")
    grid = figure.subplots(len(targets), 2, squeeze=False, sharey="row", sharex="row")
    of_scan = scans.assign(group=scans["scan"].map(dict(groups)))
    for row, target in zip(grid, targets, strict=True):
        members = of_scan[of_scan["target"] == target]
        repeated = members[members.groupby("group")["scan"].transform("count") > 1]
        for axes, kind in zip(row, KINDS, strict=True):
            means = repeated.groupby("group")[f"{kind}_ml"].transform("mean")
            style.tidy_axes(axes)
            axes.axhline(0, color="gray", linewidth=0.8)
            dots: dict[str, Any] = {"color": _COLORS[kind], "s": 20, "zorder": 3}
            axes.scatter(means, repeated[f"{kind}_ml"] - means, **dots)
            of_kind = repeatability[repeatability["volume"] == kind].set_index("target")
            limit = 1.96 * float(of_kind.loc[target, "sdw_ml"])
            for height in (-limit, limit):
                axes.axhline(height, color=style.INK, linewidth=1.2, linestyle="dashed")
            axes.xaxis.set_major_locator(MaxNLocator(4))
            style.title_panel(axes, f"{target}, {kind}", f"\nSDw {limit / 1.96:.3g} ml")
        row[0].set_ylabel("deviation [ml]", **style.FONT)
    text = "mean volume of the repeated scans [ml]   (dot: scan, dashed: ± 1.96 SDw)"
    figure.supxlabel(text, **style.FONT)
    style.save(figure, path)


def _add_legend(figure: Figure) -> None:
    """Add the names of the two kinds of volume, once for all panels."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    style.add_legend(figure, 2, handles=handles, labels=labels)
