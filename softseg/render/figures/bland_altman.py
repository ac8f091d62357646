"""Predicted against true volumes: bias and limits of agreement (Bland and Altman 1986)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from softseg.core.types import AnyArray
from softseg.render.figures.style import (
    INK,
    TEXT,
    colors,
    darker,
    name_panel,
    number,
    panels,
    save,
    tidy,
)


@dataclass(frozen=True)
class Agreement:
    """Bias (mean difference) and its limits, bias -+ 1.96 SD; NaN where undefined."""

    bias: float
    low: float
    high: float


def draw(
    volumes: Mapping[str, tuple[AnyArray, AnyArray]],
    path: Path,
    unit: str = "ml",
    *,
    color: Mapping[str, str] | None = None,
) -> None:
    """One panel a candidate, all with the same axes: a dot a subject, bias, limits of agreement.

    Args:
        volumes: of each candidate, predicted and true volumes, both (N,); a subject where either
            is NaN is left out.
        path: the PNG to write.
        unit: of the volumes, for the labels.
        color: of each candidate; `colors` of these by default.
    """
    color = color or colors(volumes)
    figure, grid = panels(len(volumes), 3, 2.9, sharex=True, sharey=True)
    for axes, (name, (predicted, true)) in zip(grid, volumes.items(), strict=True):
        mean, difference = pairs(predicted, true)
        found = agreement(difference)
        _panel(axes, mean, difference, found, color[name])
        name_panel(axes, name, f"\n{_in_words(found, unit)}")
    note = "(line: bias, dashed: limits of agreement, bias ± 1.96 SD)"
    label = f"mean of predicted and true volume [{unit}]   {note}"
    figure.supxlabel(label, fontsize=TEXT, color=INK)
    figure.supylabel(f"predicted \N{MINUS SIGN} true volume [{unit}]", fontsize=TEXT, color=INK)
    save(figure, path)


def pairs(predicted: AnyArray, true: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Means and differences (predicted - true) of the pairs without NaN."""
    both = np.stack([np.asarray(predicted, float), np.asarray(true, float)])
    both = both[:, np.isfinite(both).all(axis=0)]
    return both.mean(axis=0), both[0] - both[1]


def agreement(difference: AnyArray) -> Agreement:
    """Bias and limits of differences (N,): the sample SD; NaN where N is too small."""
    bias = float(difference.mean()) if len(difference) else float("nan")
    reach = 1.96 * float(difference.std(ddof=1)) if len(difference) > 1 else float("nan")
    return Agreement(bias, bias - reach, bias + reach)


def _panel(axes: Axes, mean: AnyArray, difference: AnyArray, found: Agreement, color: str) -> None:
    tidy(axes)
    axes.axhline(0, color="gray", linewidth=0.8)
    dots: dict[str, Any] = {"s": 20, "color": color, "edgecolors": darker(color)}
    axes.scatter(mean, difference, linewidths=0.4, zorder=3, **dots)
    lines = ((found.bias, "solid"), (found.low, "dashed"), (found.high, "dashed"))
    for height, dashes in lines:
        if np.isfinite(height):
            axes.axhline(height, color=INK, linewidth=1.2, linestyle=dashes, zorder=2)


def _in_words(found: Agreement, unit: str) -> str:
    """In the title and not beside the lines, where numbers of close lines would overlap."""
    if np.isnan(found.bias):
        return "no volumes\n"
    if np.isnan(found.low):
        return f"bias {number(found.bias, sign='+')} {unit}\nlimits undefined"
    size = max(abs(found.low), abs(found.high))  # the same places for all three
    bias, low, high = (number(one, size, "+") for one in (found.bias, found.low, found.high))
    return f"bias {bias} {unit}\nlimits {low} to {high} {unit}"
