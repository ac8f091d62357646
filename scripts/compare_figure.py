"""The figure of `scripts/compare`: quality against the CPU time of training."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from compare_table import SCORES
from matplotlib.figure import Figure

from softseg.render.figures.style import FONT, SMALL, WIDTH, colors, save, tidy_axes

PANELS = ("dice", "mse", "ece")
SCAN = ["fold", "subject"]


def plot_times(scores: pd.DataFrame, costs: pd.DataFrame, folder: Path) -> None:
    """Write time-<set>.png for each dataset on which systems were trained for several times.

    Arguments as of `compare_table.summary`. A dataset's means are over the scans that every
    training has predicted, so that its points can be compared.
    """
    for data_set, own in scores.groupby("set", sort=False):
        if own["budget"].nunique() > 1:
            means = means_of_common_scans(own, costs[costs["set"] == data_set])
            _plot(means, folder / f"time-{data_set}.png")


def means_of_common_scans(scores: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """Return the mean scores and CPU minutes of each system and budget of a dataset."""
    trainings = scores.groupby(["system", "budget"], sort=False)
    count = scores.groupby(SCAN)["system"].transform("size")
    common = scores[count == trainings.ngroups]
    minutes = costs[costs["fold"].isin(common["fold"])]
    groups = ["system", "budget"]
    means = common.groupby(groups, sort=False)[[*PANELS]].mean()
    means["core_minutes"] = minutes.groupby(groups)["core_minutes"].mean()
    return means.reset_index().assign(scans=len(common[SCAN].drop_duplicates()))


def _plot(means: pd.DataFrame, path: Path) -> None:
    """Write a panel for each score, with a line for each system."""
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    panels = figure.subplots(1, len(PANELS))
    color = colors(means["system"])
    for axes, score in zip(panels, PANELS, strict=True):
        tidy_axes(axes)
        for system, points in means.groupby("system", sort=False):
            own = points.sort_values("core_minutes")
            axes.plot(
                own["core_minutes"], own[score], marker="o", markersize=5, linewidth=1.4,
                color=color[str(system)], label=system,
            )  # fmt: skip
        axes.set_xscale("log")
        ticks = sorted(means["budget"].unique())
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_title(SCORES[score][0], **FONT)
    figure.supxlabel("CPU minutes of training", **FONT)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=4, fontsize=SMALL, frameon=False
    )
    save(figure, path)
