"""Where the time of each candidate went."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from softseg.render.figures.style import INK, SMALL, TEXT, WIDTH, number, save, tidy, wrapped


def draw(seconds: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """One stacked bar a candidate, one part a stage, the total at its end.

    Args:
        seconds: of each candidate, the seconds of each stage; a stage may be missing, NaN is 0.
        path: the PNG to write.
    """
    divisor, unit = scale([_total(parts) for parts in seconds.values()])
    figure = Figure(figsize=(WIDTH, 1.3 + 0.45 * len(seconds)), layout="constrained")
    axes = figure.subplots()
    tidy(axes, grid="x")
    rows = range(len(seconds))
    ends = [0.0] * len(seconds)
    for stage, shade in _shades(seconds).items():
        parts = [_known(one.get(stage, 0)) / divisor for one in seconds.values()]
        axes.barh(rows, parts, 0.62, ends, color=shade, edgecolor="white", lw=0.5, label=stage)
        ends = [end + part for end, part in zip(ends, parts, strict=True)]
    for row, end in zip(rows, ends, strict=True):
        _total_beside(axes, row, end, f"{number(end, max(ends))} {unit}")
    axes.set_yticks(rows, [wrapped(name, 18) for name in seconds], fontsize=SMALL)
    axes.set_xlabel(f"time [{unit}]", fontsize=TEXT, color=INK)
    axes.set_xlim(0, 1.12 * max(ends) or 1)  # room for the totals
    axes.set_ylim(len(seconds) - 0.5, -0.5)  # the first candidate on top
    figure.legend(loc="outside upper center", ncols=5, frameon=False, fontsize=SMALL)
    save(figure, path)


def _total_beside(axes: Axes, row: int, end: float, text: str) -> None:
    """On white, as a line of the grid may run behind it."""
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    where: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
    axes.annotate(text, (end, row), **where, fontsize=SMALL, color=INK, bbox=box)


def scale(totals: list[float]) -> tuple[float, str]:
    """How many seconds the unit has in which the largest total reads well, and its name."""
    longest = max(totals)
    if longest < 120:
        return 1.0, "s"
    return (60.0, "min") if longest < 120 * 60 else (3600.0, "h")


def _total(parts: Mapping[str, float]) -> float:
    return sum(map(_known, parts.values()))


def _known(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _shades(seconds: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """From dark to light, which are no candidate's colors, and differ in black and white."""
    stages = list(dict.fromkeys(stage for parts in seconds.values() for stage in parts))
    step = 0.9 / max(1, len(stages) - 1)
    return {stage: to_hex(colormaps["cividis"](0.05 + k * step)) for k, stage in enumerate(stages)}
