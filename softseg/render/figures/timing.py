"""Where the time of each candidate went."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from softseg.render.figures import style


def plot_timing(seconds: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Plot a stacked bar per candidate, a part per stage, with the total at its end.

    Args:
        seconds: of each stage of each candidate; a stage may be missing, NaN counts as 0.
        path: the PNG to write.
    """
    seconds = {
        name: {stage: time if math.isfinite(time) else 0.0 for stage, time in parts.items()}
        for name, parts in seconds.items()
    }
    divisor, unit = time_unit([sum(parts.values()) for parts in seconds.values()])
    figure = Figure(figsize=(style.WIDTH, 1.3 + 0.45 * len(seconds)), layout="constrained")
    axes = figure.subplots()
    style.tidy_axes(axes, grid="x")
    rows = range(len(seconds))
    ends = [0.0] * len(seconds)
    stages = list(dict.fromkeys(stage for parts in seconds.values() for stage in parts))
    step = 0.9 / max(1, len(stages) - 1)
    for k, stage in enumerate(stages):
        # from dark to light: no candidate's colors, and different in black and white
        shade = to_hex(colormaps["cividis"](0.05 + k * step))
        widths = [parts.get(stage, 0) / divisor for parts in seconds.values()]
        axes.barh(rows, widths, 0.62, ends, color=shade, edgecolor="white", lw=0.5, label=stage)
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    for row, end in zip(rows, ends, strict=True):
        # on white, as grid lines may run behind it
        background = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        place: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
        total = f"{style.format_number(end, max(ends))} {unit}"
        axes.annotate(total, (end, row), bbox=background, **style.SMALL_FONT, **place)
    axes.set_yticks(rows, [style.wrap(name, 18) for name in seconds], fontsize=style.SMALL)
    axes.set_xlabel(f"time [{unit}]", **style.FONT)
    axes.set_xlim(0, 1.12 * max(ends) or 1)  # room for the totals
    axes.set_ylim(len(seconds) - 0.5, -0.5)  # the first candidate on top
    style.add_legend(figure, 5)
    style.save(figure, path)


def time_unit(totals: list[float]) -> tuple[float, str]:
    """Seconds and name of the unit in which the largest total reads well."""
    longest = max(totals)
    if longest < 120:
        return 1.0, "s"
    return (60.0, "min") if longest < 120 * 60 else (3600.0, "h")
