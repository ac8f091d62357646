"""Augmented slices in panels: the images with the outlines of the targets, and the soft masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from matplotlib.figure import Figure

from softseg.core.types import AnyArray
from softseg.render.figures import slices
from softseg.render.figures.style import WIDTH, save, wrap

_GAP, _PANEL_GAP, _LINE, _EDGE = 0.04, 0.16, 0.18, 0.1  # inches
_LARGEST = 1.6  # inches of a cell's side
_CELLS = 8  # in a row, at most
_LETTERS = 12.5  # per inch, of SMALL text


@dataclass(frozen=True)
class Panel:
    """A slice in one state; axes growing to the patient's right and front."""

    caption: str
    images: AnyArray
    """(C, H, W), of the contrasts."""
    masks: AnyArray
    """(K, H, W) in [0, 1], of the targets."""
    ignore: AnyArray | None = None
    """(H, W), true where a target is unknown; None: nowhere."""


@dataclass(frozen=True)
class PanelSheet:
    """The panels of a figure, all of the same slice; the first one is of the unchanged slice."""

    title: str
    contrasts: Sequence[str]
    targets: Sequence[str]
    pixel_mm: slices.PixelSize
    panels: Sequence[Panel]
    columns: int
    """Panels in a row, at most."""


def plot_augmentation(sheet: PanelSheet, path: Path) -> None:
    """Plot a cell for each contrast and each target of every panel, with its caption below.

    Grays are those of the unchanged slice in all panels, so that brightness can be compared.
    """
    cells = len(sheet.contrasts) + len(sheet.targets)
    per_row = max(1, min(sheet.columns, _CELLS // cells))
    gaps = (per_row - 1) * _PANEL_GAP + per_row * (cells - 1) * _GAP
    side = slices.whole_pixels(min(_LARGEST, (WIDTH - 2 * _EDGE - gaps) / (per_row * cells)))
    width = cells * (side + _GAP) - _GAP
    letters = int(width * _LETTERS)
    captions = [
        "\n".join(wrap(line, letters) for line in panel.caption.splitlines())
        for panel in sheet.panels
    ]
    rows = [captions[k : k + per_row] for k in range(0, len(captions), per_row)]
    legend = _legend(sheet)
    top = slices.whole_pixels(_EDGE + _LINE * len(legend) + 0.08)
    heights = [side + _LINE * (1.5 + max(text.count("\n") for text in row)) for row in rows]
    figure = Figure(figsize=(WIDTH, top + sum(heights)))
    slices.add_legend_lines(figure, _EDGE, _EDGE, _LINE, legend)
    for number, (panel, caption) in enumerate(zip(sheet.panels, captions, strict=True)):
        row, column = divmod(number, per_row)
        left = _EDGE + column * (width + _PANEL_GAP)
        upper = slices.whole_pixels(top + sum(heights[:row]))
        _plot_panel(figure, sheet, panel, (left, upper), side)
        below = (left + width / 2, upper + side + 0.04)
        slices.add_text(figure, *below, caption, ha="center", va="top", linespacing=1.1)
    save(figure, path)


def _legend(sheet: PanelSheet) -> list[tuple[str, str]]:
    """Return the lines above the panels, each with its color or "none"."""
    order = ", from left to right" if len(sheet.contrasts) + len(sheet.targets) > 2 else ""
    text = (
        f"{sheet.title}. In each panel{order}: {', '.join(sheet.contrasts)}, in the grays of the "
        f"unchanged slice, and the soft mask of {', '.join(sheet.targets)}, from 0 (black) to 1 "
        "(white)"
    )
    lines = [line.strip() for line in wrap(text, int(WIDTH * _LETTERS)).splitlines()]
    if any(panel.ignore is not None and panel.ignore.any() for panel in sheet.panels):
        lines.append(slices.IGNORED_NOTE)
    outlines = [f"outline of {name}: its mask is 0.5" for name in sheet.targets]
    colors = cycle(slices.TARGET_COLORS)
    return [*((line, "none") for line in lines), *zip(outlines, colors, strict=False)]


def _plot_panel(
    figure: Figure, sheet: PanelSheet, panel: Panel, corner: tuple[float, float], side: float
) -> None:
    """Plot the cells of a panel, whose upper left corner is given in inches."""
    box = slices.whole_slice(panel.images.shape[1:], sheet.pixel_mm)
    for k, shown in enumerate([*panel.images, *panel.masks]):
        left = slices.whole_pixels(corner[0] + k * (side + _GAP))
        axes = slices.add_cell(figure, left, corner[1], side)
        if k >= len(panel.images):
            slices.plot_slice(axes, shown, sheet.pixel_mm, box, gray_range=(0, 1))
            continue
        unchanged = sheet.panels[0].images[k]
        grays = slices.gray_range_of(unchanged, sheet.pixel_mm, box)
        slices.plot_slice(axes, shown, sheet.pixel_mm, box, grays)
        slices.plot_ignored(axes, panel.ignore, sheet.pixel_mm)
        for mask, color in zip(panel.masks, cycle(slices.TARGET_COLORS), strict=False):
            slices.plot_level(axes, mask, sheet.pixel_mm, color)
