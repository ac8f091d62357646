"""Distribution of the non-zero predicted values: how soft predictions are (SoftSeg Figure 4)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from scipy.stats import gaussian_kde

from softseg.core.types import AnyArray, Float64Array
from softseg.render.figures import style

NARROWEST = 0.01
"""Least width of the kernel: the spike of a nearly binary prediction stays within the figure."""
_SAME = 1e-6
"""Values that differ by less are one value, to float32 and to the reader."""
_LETTERS = 34  # in a line of the legend
# alternating, so that curves on top of each other are both visible; a pair per repeat of a color
_DASHES = (
    ("solid", (0, (5, 1.5))),
    ((0, (1, 1)), (0, (5, 1, 1, 1))),
    ((0, (9, 2)), (0, (3, 1, 1, 1, 1, 1))),
)


def plot_density(
    values: Mapping[str, AnyArray], path: Path, *, color: Mapping[str, str] | None = None
) -> None:
    """Plot a curve per candidate, each with an area of 1.

    Args:
        values: predicted values of each candidate, in [0, 1], of any shape, a sample of at most
            20,000 for speed; zeros and NaN are left out. Fewer than two distinct values have no
            curve; the legend names the reason.
        path: the PNG to write.
        color: of each candidate; `style.colors(values)` by default.
    """
    color = color or style.colors(values)
    figure = Figure(figsize=(style.WIDTH, 4.2 + 0.2 * (len(values) // 3)), layout="constrained")
    axes = figure.subplots()
    style.tidy_axes(axes)
    at, tallest, repeats = np.linspace(0, 1, 501), 5.0, style.color_repeats(values, color)
    for k, (name, all_values) in enumerate(values.items()):
        flat = np.asarray(all_values, dtype=np.float64).ravel()
        positive = flat[np.isfinite(flat) & (flat > 0)]
        heights = density(positive, at)
        dash = _DASHES[repeats[name] % len(_DASHES)][k % 2]
        line: dict[str, Any] = {"color": color[name], "linestyle": dash, "lw": 1.8}
        label = style.legend_name(name, _LETTERS)
        if heights is not None:
            axes.plot(at, heights, label=label, **line)
            tallest = heights.max(initial=tallest)
        elif len(positive):
            axes.plot([], [], label=f"{label}\n(every value is {positive[0]:.3g})", **line)
        else:
            axes.plot([], [], label=f"{label}\n(no value above 0)", **line)
    axes.set_yscale("log")  # or the spike of a nearly binary prediction flattens all others
    axes.set(xlim=(0, 1), ylim=(0.01, 2 * tallest))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("predicted value (zeros left out)", **style.FONT)
    axes.set_ylabel("density (area 1, log scale)", **style.FONT)
    longest = min(_LETTERS, max(len(name) for name in values))
    style.add_legend(figure, max(1, min(len(values), int(style.WIDTH / (0.6 + 0.075 * longest)))))
    style.save(figure, path)


def density(values: AnyArray, at: AnyArray) -> Float64Array | None:
    """Kernel density of values (N,) in (0, 1] at points (M,) in [0, 1]; None for a single value.

    A Gaussian kernel of Scott's width, at least NARROWEST. What would leak beyond 0 and 1, where
    no prediction can be, is mirrored back, so that the area within [0, 1] is 1.
    """
    if len(values) < 2 or np.ptp(values) < _SAME:
        return None
    floor = NARROWEST / float(values.std(ddof=1))
    kernel = gaussian_kde(values, bw_method=max(len(values) ** -0.2, floor))
    return np.asarray(kernel(at) + kernel(-at) + kernel(2 - at))
