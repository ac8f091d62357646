"""Predicted against true volumes: bias and limits of agreement (Bland and Altman 1986)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softseg.core.types import AnyArray
from softseg.render.figures import style


@dataclass(frozen=True)
class Agreement:
    """Bias (mean difference) and limits of agreement, bias ± 1.96 SD; NaN if undefined."""

    bias: float
    low: float
    high: float


def plot_bland_altman(
    volumes: Mapping[str, tuple[AnyArray, AnyArray]],
    path: Path,
    unit: str = "ml",
    *,
    color: Mapping[str, str] | None = None,
) -> None:
    """Plot a panel per candidate: a dot per subject, bias and limits. All have the same axes.

    Args:
        volumes: predicted and true volumes of each candidate, both (N,); a subject with a NaN is
            left out.
        path: the PNG to write.
        unit: of the volumes, for the labels.
        color: of each candidate; `style.colors(volumes)` by default.
    """
    color = color or style.colors(volumes)
    figure, grid = style.panels(len(volumes), 3, 2.9, sharex=True, sharey=True)
    for axes, (name, (predicted, true)) in zip(grid, volumes.items(), strict=True):
        mean, difference = means_and_differences(predicted, true)
        limits = agreement(difference)
        style.tidy_axes(axes)
        axes.axhline(0, color="gray", linewidth=0.8)
        dots: dict[str, Any] = {
            "s": 20,
            "color": color[name],
            "edgecolors": style.darker(color[name]),
        }
        axes.scatter(mean, difference, linewidths=0.4, zorder=3, **dots)
        for height, dash in (
            (limits.bias, "solid"),
            (limits.low, "dashed"),
            (limits.high, "dashed"),
        ):
            if np.isfinite(height):
                axes.axhline(height, color=style.INK, linewidth=1.2, linestyle=dash, zorder=2)
        style.title_panel(axes, name, f"\n{_describe(limits, unit)}")
    note = "(line: bias, dashed: limits of agreement, bias ± 1.96 SD)"
    figure.supxlabel(f"mean of predicted and true volume [{unit}]   {note}", **style.FONT)
    figure.supylabel(f"predicted \N{MINUS SIGN} true volume [{unit}]", **style.FONT)
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


def _describe(limits: Agreement, unit: str) -> str:
    """Text for the title: next to the lines, the numbers of close lines would overlap."""
    if np.isnan(limits.bias):
        return "no volumes\n"
    if np.isnan(limits.low):
        return f"bias {style.format_number(limits.bias, sign='+')} {unit}\nlimits undefined"
    size = max(abs(limits.low), abs(limits.high))  # the same decimals for all three
    values = (limits.bias, limits.low, limits.high)
    bias, low, high = (style.format_number(value, size, "+") for value in values)
    return f"bias {bias} {unit}\nlimits {low} to {high} {unit}"
