"""Cells, texts and the color bar of figures made of slices, placed in inches from the upper left.

Not by a layout engine, which would leave wide gaps between images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softseg.render.figures.slices import SOFT
from softseg.render.figures.style import INK, SMALL

BAR = (1.4, 0.55)
"""Width and height of the color bar and its labels in inches."""


def cell(figure: Figure, left: float, top: float, side: float) -> Axes:
    """Square axes without ticks; `left` and `top` in inches from the figure's upper left corner."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, 1 - (top + side) / height, side / width, side / height))
    axes.set(xticks=[], yticks=[], facecolor="black")
    axes.spines[:].set_visible(False)
    return axes


def write(figure: Figure, left: float, top: float, text: str, **kwargs: Any) -> None:
    """Small text, placed like `cell`, centered vertically."""
    width, height = figure.get_size_inches()
    look: dict[str, Any] = {"va": "center", "color": INK, "fontsize": SMALL, **kwargs}
    figure.text(left / width, 1 - top / height, text, **look)


def color_bar(figure: Figure, left: float, top: float) -> None:
    """What the colors of `slices.overlay` mean: BAR inches wide and high."""
    width, height = figure.get_size_inches()
    write(figure, left, top + 0.1, "prediction, truth")
    bar = figure.add_axes((left / width, 1 - (top + 0.33) / height, BAR[0] / width, 0.12 / height))
    bar.imshow(np.linspace(0, 1, 256)[None], cmap=SOFT, aspect="auto", extent=(0, 1, 0, 1))
    bar.set(xticks=[0, 0.5, 1], xticklabels=["0", "0.5", "1"], yticks=[])
    bar.tick_params(labelsize=SMALL, labelcolor=INK, length=2, pad=2)
    bar.spines[:].set_linewidth(0.5)
