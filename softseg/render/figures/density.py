"""How soft the predictions are: the distribution of their non-zero values (SoftSeg Figure 4)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from scipy.stats import gaussian_kde

from softseg.core.types import AnyArray, Float64Array
from softseg.render.figures.style import (
    INK,
    SMALL,
    TEXT,
    WIDTH,
    colors,
    rounds,
    save,
    tidy,
    wrapped,
)

NARROWEST = 0.01
"""Least width of the kernel: the spike of a nearly binary prediction stays within the figure."""
_SAME = 1e-6
"""Values that differ by less are one value, to float32 and to the reader."""
# every second another: curves that lie on each other are both seen; then those of a color's return
_DASHES = (
    ("solid", (0, (5, 1.5))),
    ((0, (1, 1)), (0, (5, 1, 1, 1))),
    ((0, (9, 2)), (0, (3, 1, 1, 1, 1, 1))),
)


def draw(
    values: Mapping[str, AnyArray], path: Path, *, color: Mapping[str, str] | None = None
) -> None:
    """One curve a candidate, each with an area of 1.

    Args:
        values: of each candidate, predicted values in [0, 1], any shape, a sample of at most
            20,000 for speed; zeros and NaN are left out. Fewer than two distinct values have no
            curve; the legend says so.
        path: the PNG to write.
        color: of each candidate; `colors` of these by default.
    """
    color = color or colors(values)
    figure = Figure(figsize=(WIDTH, 4.2 + 0.2 * (len(values) // 3)), layout="constrained")
    axes = figure.subplots()
    tidy(axes)
    at, tallest, again = np.linspace(0, 1, 501), 5.0, rounds(values, color)
    for k, (name, all_values) in enumerate(values.items()):
        kept = _non_zero(all_values)
        heights = density(kept, at)
        dash = _DASHES[again[name] % len(_DASHES)][k % 2]
        look: dict[str, Any] = {"color": color[name], "linestyle": dash, "lw": 1.8}
        if heights is None:
            axes.plot([], [], label=f"{_label(name)}\n{_why(kept)}", **look)
        else:
            axes.plot(at, heights, label=_label(name), **look)
            tallest = heights.max(initial=tallest)
    axes.set_yscale("log")  # or the spike of a nearly binary prediction flattens all others
    axes.set(xlim=(0, 1), ylim=(0.01, 2 * tallest))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("predicted value (zeros left out)", fontsize=TEXT, color=INK)
    axes.set_ylabel("density (area 1, log scale)", fontsize=TEXT, color=INK)
    figure.legend(loc="outside upper center", ncols=_columns(values), frameon=False, fontsize=SMALL)
    save(figure, path)


def density(values: AnyArray, at: AnyArray) -> Float64Array | None:
    """Kernel density of values (N,) in (0, 1] at points (M,) in [0, 1]; None if all are the same.

    A Gaussian kernel of Scott's width, at least NARROWEST. What would leak beyond 0 and 1, where
    no prediction can be, is mirrored back, so that the area within [0, 1] is 1.
    """
    if len(values) < 2 or np.ptp(values) < _SAME:
        return None
    floor = NARROWEST / float(values.std(ddof=1))
    kernel = gaussian_kde(values, bw_method=max(len(values) ** -0.2, floor))
    return np.asarray(kernel(at) + kernel(-at) + kernel(2 - at))


def _label(name: str) -> str:
    """With a space before an underscore: matplotlib leaves out names that begin with one."""
    return wrapped(name, 34) if not name.startswith("_") else f" {wrapped(name, 34)}"


def _non_zero(values: AnyArray) -> Float64Array:
    flat = np.asarray(values, dtype=np.float64).ravel()
    return flat[np.isfinite(flat) & (flat > 0)]


def _why(values: AnyArray) -> str:
    return f"(every value is {values[0]:.3g})" if len(values) else "(no value above 0)"


def _columns(values: Mapping[str, AnyArray]) -> int:
    """Columns of the legend: what the longest name, in inches, lets stand beside each other."""
    longest = min(34, max(len(name) for name in values))
    return max(1, min(len(values), int(WIDTH / (0.6 + 0.075 * longest))))
