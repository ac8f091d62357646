"""What all figures share: colors, sizes, panels, saving."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from softseg.core.files import replacing

DPI = 150
WIDTH = 8.3
"""Inches: 1245 pixels fill a page of 1280 pixels, and print at 7.3 inches with letters >= 8 pt."""
TEXT, SMALL = 10.0, 9.5
"""Sizes of letters in points."""
INK, FAINT = "#222222", "#d4d4d4"
RED = "#ff2000"
"""A prediction of 1, laid over a slice."""

# Petroff 2021 (arXiv:2107.02270): told apart with each kind of color blindness, ten of them
# (the grays, which look switched off, and the palest stand last)
_PALETTE = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#832db6",
    "#a96b59",
    "#b9ac70",
    "#717581",
    "#e76300",
    "#92dadd",
    "#94a4a2",
)


MARKS = "os^Dv"
"""Of candidates of one color, round by round; then again."""


def colors(candidates: Iterable[str]) -> dict[str, str]:
    """A color (#rrggbb) of each candidate, by its place; they repeat from the eleventh on, where
    `rounds` tell them apart by another mark or dash.

    Hand the result, made once of all candidates, to every figure: a candidate then keeps its
    color in figures where others are missing.
    """
    names = dict.fromkeys(candidates)
    return {name: _PALETTE[k % len(_PALETTE)] for k, name in enumerate(names)}


def rounds(names: Iterable[str], color: Mapping[str, str]) -> dict[str, int]:
    """How many of the names before it have a name's color: 0 for the first ten, then 1, ..."""
    seen: Counter[str] = Counter()
    found = {}
    for name in names:
        found[name] = seen[color[name]]
        seen[color[name]] += 1
    return found


def darker(color: str) -> str:
    """Half way to black: for a line over others of its color, and the edge of a pale dot."""
    red, green, blue = to_rgb(color)
    return to_hex((red / 2, green / 2, blue / 2))


def wrapped(name: str, width: int) -> str:
    """A name in lines of at most `width` letters, broken after a hyphen, underscore or space."""
    lines = [""]
    for word in re.split(r"(?<=[-_ ])", name):
        if lines[-1] and len((lines[-1] + word).rstrip()) > width:
            lines.append("")
        *whole, rest = re.findall(f".{{1,{width}}}", lines[-1] + word, re.DOTALL) or [""]
        lines[-1:] = [*whole, rest]
    # a pair of dollar signs would be set as a formula
    return "\n".join(line.rstrip() for line in lines).replace("$", r"\$")


def number(value: float, size: float | None = None, sign: str = "") -> str:
    """A value with about three digits, or with as many places as a value of `size` would have.

    `sign="+"` writes a plus, too. The minus is a real one; NaN is "undefined".
    """
    if math.isnan(value):
        return "undefined"
    size = abs(value) if size is None else abs(size)
    places = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 or not size else 3
    return f"{value:{sign}.{places}f}".replace("-", "\N{MINUS SIGN}")


def panels(count: int, across: int, height: float, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure of `count` equal panels, at most `across` in a row of `height` inches."""
    rows = math.ceil(count / across)
    columns = math.ceil(count / rows)
    figure = Figure(figsize=(WIDTH, 0.7 + rows * height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **shared).ravel()
    for unused in grid[count:]:
        unused.remove()
    for axes in grid[max(0, count - columns) : count]:  # what has no panel below it
        axes.tick_params(labelbottom=True)
    return figure, list(grid[:count])


def name_panel(axes: Axes, name: str, below: str = "") -> None:
    """A candidate's name above its panel, in as many lines as the panel's width asks for."""
    grid = axes.get_gridspec()
    letters = 84 // (grid.ncols if grid else 1)
    axes.set_title(wrapped(name, letters) + below, fontsize=TEXT, color=INK)


def tidy(axes: Axes, grid: str = "both") -> None:
    """A thin grid behind the data, no box around it, small dark letters."""
    axes.set_axisbelow(True)
    axes.grid(False)
    axes.grid(axis=grid, color=FAINT, linewidth=0.6)  # type: ignore[arg-type]
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#888888")
    axes.tick_params(labelsize=SMALL, color="#888888", labelcolor=INK)


def say(axes: Axes, text: str) -> None:
    """In the middle of an empty panel, on white, as lines of the grid may run behind it."""
    box = {"facecolor": "white", "edgecolor": "none", "pad": 2}
    where: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center"}
    axes.text(0.5, 0.5, text, fontsize=SMALL, color=INK, bbox=box, **where)


def save(figure: Figure, path: Path, fitted: bool = False) -> None:
    """Write the PNG, whole or not at all; the folder is made.

    `fitted` cuts or widens it to what is drawn, for figures without a layout engine.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    crop: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.08} if fitted else {}
    with replacing(path) as part:
        figure.savefig(part, dpi=DPI, format="png", facecolor="white", **crop)
