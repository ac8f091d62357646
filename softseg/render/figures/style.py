"""Colors, sizes, labels, panels and saving, shared by all figures."""

from __future__ import annotations

import math
import re
import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from softseg.core.files import replacing

DPI = 300
"""Of PNG files: what journals ask for."""
PAGE_DPI = 150
"""Of figures on a page: their size in pixels there is their size in inches times this."""
NARROW = 4.0
"""Inches of a figure on a narrow screen, such as a phone's."""
WIDTH = 8.3
"""Inches: 1245 pixels fill a page of 1280 pixels, and print at 7.3 inches with letters >= 8 pt."""
FigureFormat = Literal["png", "pdf", "svg"]
"""Format of figures; they are written as PNG in any case."""
TEXT, SMALL = 10.0, 9.5
"""Sizes of letters in points."""
INK, FAINT = "#222222", "#d4d4d4"
FONT: dict[str, Any] = {"fontsize": TEXT, "color": INK}
"""Keywords of titles and axis labels."""
SMALL_FONT: dict[str, Any] = {"fontsize": SMALL, "color": INK}
"""Keywords of notes."""
RED = "#ff2000"
"""Color of a prediction of 1 over a slice."""

# Petroff 2021 (arXiv:2107.02270): ten colors that differ with each kind of color blindness
# (the grays, which look disabled, and the palest are last)
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
_MARKERS = "os^Dv"

_narrow_copies = ContextVar("_narrow_copies", default=False)

Colors = Mapping[str, str]
"""Candidate -> its color, the same in every figure: `colors` of all candidates."""


def colors(candidates: Iterable[str]) -> dict[str, str]:
    """Return a color (#rrggbb) for each candidate; they repeat from the eleventh on.

    Compute the colors once from all candidates and pass them to every figure: a candidate then
    keeps its color in figures that lack others. See `color_repeats` for repeated colors.
    """
    names = dict.fromkeys(candidates)
    return {name: _PALETTE[k % len(_PALETTE)] for k, name in enumerate(names)}


def color_repeats(names: Iterable[str], color: Mapping[str, str]) -> dict[str, int]:
    """How many earlier names share each name's color: 0 for the first ten, then 1, ..."""
    seen: Counter[str] = Counter()
    repeats = {}
    for name in names:
        repeats[name] = seen[color[name]]
        seen[color[name]] += 1
    return repeats


def markers(names: Iterable[str], color: Mapping[str, str]) -> dict[str, str]:
    """Return a marker for each name: another one each time that a color repeats."""
    repeats = color_repeats(names, color)
    return {name: _MARKERS[count % len(_MARKERS)] for name, count in repeats.items()}


def darker(color: str) -> str:
    """Half way to black: for a line over others of its color, and the edge of a pale dot."""
    red, green, blue = to_rgb(color)
    return to_hex((red / 2, green / 2, blue / 2))


def wrap(name: str, width: int) -> str:
    """Break a name into lines of at most `width` letters, after a hyphen, underscore or space."""
    lines = [""]
    for part in re.split(r"(?<=[-_ ])", name):
        if lines[-1] and len((lines[-1] + part).rstrip()) > width:
            lines.append("")
        lines[-1:] = re.findall(f".{{1,{width}}}", lines[-1] + part, re.DOTALL) or [""]
    # matplotlib sets the text between two dollar signs as a formula
    return "\n".join(line.rstrip() for line in lines).replace("$", r"\$")


def format_number(value: float, size: float | None = None, sign: str = "") -> str:
    """Format a value with about three digits, or with the decimals that suit a value of `size`.

    `sign="+"` writes a plus sign, too. The minus sign is typographic; NaN is "undefined".
    """
    if math.isnan(value):
        return "undefined"
    size = abs(value) if size is None else abs(size)
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 or not size else 3
    return f"{value:{sign}.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def panels(count: int, across: int, height: float, **shared: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure of `count` equal panels, at most `across` in a row of `height` inches."""
    rows = math.ceil(count / across)
    columns = math.ceil(count / rows)
    figure = Figure(figsize=(WIDTH, 0.7 + rows * height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **shared).ravel()
    for unused in grid[count:]:
        unused.remove()
    for axes in grid[max(0, count - columns) : count]:  # those without a panel below
        axes.tick_params(labelbottom=True)
    return figure, list(grid[:count])


def title_panel(axes: Axes, name: str, subtitle: str = "") -> None:
    """Write a candidate's name above its panel, in as many lines as the panel's width needs."""
    grid = axes.get_gridspec()
    letters = 84 // (grid.ncols if grid else 1)
    axes.set_title(wrap(name, letters) + subtitle, **FONT)


def tidy_axes(axes: Axes, grid: str = "both") -> None:
    """Give axes a thin grid behind the data, no box around it, and small dark letters."""
    axes.set_axisbelow(True)
    axes.grid(False)
    axes.grid(axis=grid, color=FAINT, linewidth=0.6)  # type: ignore[arg-type]
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#888888")
    axes.tick_params(labelsize=SMALL, color="#888888", labelcolor=INK)


def label_rows(axes: Axes, names: Collection[str]) -> None:
    """Write each name left of its row, the first on top."""
    axes.set_yticks(range(len(names)), list(names), fontsize=SMALL)
    axes.set_ylim(len(names) - 0.5, -0.5)


def add_message(axes: Axes, text: str) -> None:
    """Write in the middle of an empty panel, on white, as grid lines may run behind it."""
    background = {"facecolor": "white", "edgecolor": "none", "pad": 2}
    center: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center"}
    axes.text(0.5, 0.5, text, bbox=background, **SMALL_FONT, **center)


def add_legend(figure: Figure, columns: int, **artists: Any) -> None:
    """Add a legend above the panels; `artists` are `handles` (and `labels`), all by default."""
    place = {"loc": "outside upper center", "ncols": columns, **artists}
    figure.legend(frameon=False, fontsize=SMALL, **place)


def legend_name(name: str, width: int) -> str:
    """A candidate's name in a legend, in lines of at most `width` letters.

    With a space before an underscore: matplotlib leaves out names that begin with one.
    """
    return f"{' ' * name.startswith('_')}{wrap(name, width)}"


def legend_columns(names: Collection[str], width: int, inches: float = WIDTH) -> int:
    """How many equal columns of names fit into a legend, the last row being as full as can be.

    `width` is the most letters in a line, as for `legend_name`; `inches` is the figure's width.
    """
    longest = max(12, min(width, max(len(name) for name in names)))
    most = max(1, int(inches / (0.6 + 0.08 * longest)))  # inches: marker and gap, and a letter
    return math.ceil(len(names) / math.ceil(len(names) / most))


def save(figure: Figure, path: Path, crop: bool = False) -> None:
    """Write a PNG of 300 dpi; if the path ends in .pdf or .svg, also that file next to it.

    Files are written atomically, and their folder is created. `crop` fits the size to what is
    drawn, for figures without a layout engine.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    bounds: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.08} if crop else {}
    for form in dict.fromkeys(["png", path.suffix.removeprefix(".") or "png"]):
        # without the date, so that the same figure has the same bytes
        metadata = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[form]
        with (
            replacing(path.with_suffix(f".{form}")) as part,
            mpl.rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none"}),
        ):
            figure.savefig(
                part, dpi=DPI, format=form, facecolor="white", metadata=metadata, **bounds
            )
    if _narrow_copies.get() and figure.get_layout_engine() is not None:
        stack_panels(figure)
        with replacing(narrow_file(path)) as part:
            figure.savefig(part, dpi=PAGE_DPI, format="png", facecolor="white")


def narrow_file(path: Path) -> Path:
    """The copy of a figure for a narrow screen."""
    return path.with_name(f"{path.stem}-narrow.png")


@contextmanager
def narrow_copies() -> Iterator[None]:
    """Let `save` also write a copy of each figure for a narrow screen, its panels in one column.

    Figures of slices, which have no layout engine, have none.
    """
    token = _narrow_copies.set(True)
    try:
        yield
    finally:
        _narrow_copies.reset(token)


def stack_panels(figure: Figure) -> None:
    """Put the panels of a figure below each other, with letters of the same size."""
    panels = [axes for axes in figure.axes if axes.get_subplotspec() is not None]
    specs = [axes.get_subplotspec() for axes in panels]
    grid = specs[0].get_gridspec() if specs and specs[0] else None
    if grid is None:
        return
    height = figure.get_size_inches()[1] / grid.nrows
    if grid.ncols > 1:
        _title_panels(panels, grid.ncols)
        stacked = GridSpec(len(panels), 1, figure=figure)
        for k, axes in enumerate(panels):
            axes.set_subplotspec(stacked[k])
            axes.tick_params(labelleft=True, labelbottom=True)
    rows = len(panels) if grid.ncols > 1 else 1
    height = max(height, 2.0) if grid.ncols > 1 else figure.get_size_inches()[1]
    figure.set_size_inches(NARROW, 0.8 + rows * height)
    for legend in list(figure.legends):
        names = [text.get_text() for text in legend.get_texts()]
        handles = list(legend.legend_handles)
        legend.remove()
        add_legend(figure, legend_columns(names, 40, NARROW), handles=handles, labels=names)
    labels = [axes.xaxis.label for axes in panels]
    for text in filter(None, [*labels, figure._supxlabel]):  # type: ignore[attr-defined]
        text.set_text("\n".join(textwrap.wrap(text.get_text(), 44)))


def _title_panels(panels: Sequence[Axes], columns: int) -> None:
    """Give each panel of a grid the title of its column and the name of its row."""
    tops = [axes.get_title() for axes in panels[:columns]]
    for k, axes in enumerate(panels):
        row = panels[k - k % columns].get_ylabel() if axes.get_title() in ("", *tops) else ""
        title = axes.get_title() or tops[k % columns]
        name = " ".join(row.split())
        is_named = bool(name) and len(panels) > columns
        axes.set_title(f"{name}: {title}" if is_named else title, **FONT)
    for axes in panels if len(panels) > columns else ():
        if axes.get_title().startswith(" ".join(axes.get_ylabel().split()) + ":"):
            axes.set_ylabel("")
