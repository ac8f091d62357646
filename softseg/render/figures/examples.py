"""Predictions of selected subjects by each candidate, soft and binary (SoftSeg Figures 5 to 7)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softseg.core.types import AnyArray
from softseg.render.figures import slices
from softseg.render.figures.style import TEXT, WIDTH, save, wrap

_LEFT, _GAP, _BETWEEN, _LINE = 1.35, 0.04, 0.16, 0.2  # inches
_NOTE = "blue frame: the part that is enlarged\nblue line: outline of the ground truth"


@dataclass(frozen=True)
class Example:
    """A slice of one subject; all arrays (H, W), axes to the patient's right and front."""

    title: str
    image: AnyArray
    truth: AnyArray
    """In [0, 1]."""
    soft: Mapping[str, AnyArray]
    """Prediction of each candidate, in [0, 1]."""
    binary: Mapping[str, AnyArray]
    """Prediction of each candidate, 0 or 1."""
    pixel_mm: slices.PixelSize = (1.0, 1.0)
    dice: Mapping[str, float] = field(default_factory=dict)
    """Of each candidate, in %; NaN if it is undefined."""


@dataclass(frozen=True)
class _Pair:
    """Two columns of cells for one subject; lengths in inches."""

    figure: Figure
    example: Example
    box: slices.Box
    left: float
    first: float
    """Top of the first row."""
    side: float

    def plot(self, row: int, column: int, mask: AnyArray) -> Axes:
        """Show a mask over the enlarged image."""
        axes = self.add_cell(row, column)
        slices.plot_slice(axes, self.example.image, self.example.pixel_mm, self.box)
        slices.plot_overlay(axes, mask, self.example.pixel_mm, self.box)
        return axes

    def add_cell(self, row: int, column: int) -> Axes:
        return slices.add_cell(self.figure, *self._corner(row, column), self.side)

    def add_text(self, row: int, column: int, text: str, below: bool = False) -> None:
        """Write a line above or below a cell."""
        left, top = self._corner(row, column)
        height = top + self.side + 0.1 if below else top - 0.1
        slices.add_text(self.figure, left + self.side / 2, height, text, ha="center")

    def _corner(self, row: int, column: int) -> tuple[float, float]:
        """Left and top of a cell; between two rows is one line of text."""
        left = self.left + column * (self.side + _GAP)
        return left, self.first + row * (self.side + _LINE)


def plot_examples(examples: Sequence[Example], path: Path) -> None:
    """Plot two columns per subject, such as the worst, median and best, and a row per candidate.

    The first row has the image and the ground truth, the others the soft and the binary
    prediction. All but the image are enlarged, see `box_of`. A candidate without a prediction of
    a subject has no cells there.
    """
    names = list(dict.fromkeys(name for example in examples for name in example.soft))
    width = min(3.2, (WIDTH - _LEFT) / len(examples)) - _BETWEEN
    side = (width - _GAP) / 2
    titles = [wrap(example.title, max(10, int(width * 11))) for example in examples]
    # two lines are between the titles and the first row: its headings, and a gap
    first = 0.05 + _LINE * (2 + max(title.count("\n") for title in titles))
    height = first + (len(names) + 1) * (side + _LINE) + slices.COLOR_BAR[1] + 0.2
    figure = Figure(figsize=(_LEFT + len(examples) * (width + _BETWEEN), height))
    for k, (example, title) in enumerate(zip(examples, titles, strict=True)):
        left = _LEFT + k * (width + _BETWEEN)
        heading = {"ha": "center", "va": "top", "fontsize": TEXT}
        slices.add_text(figure, left + width / 2, 0.05, title, **heading)
        _plot_example(_Pair(figure, example, box_of(example), left, first, side), names)
    for row, name in enumerate(names, start=1):
        middle = first + row * (side + _LINE) + side / 2
        slices.add_text(figure, _LEFT - 0.1, middle, wrap(name, 14), ha="right", fontsize=TEXT)
    foot = height - slices.COLOR_BAR[1] - 0.05
    slices.add_color_bar(figure, 0.15, foot)
    slices.add_text(figure, 0.5 + slices.COLOR_BAR[0], foot, _NOTE, va="top")
    save(figure, path, crop=True)


def box_of(example: Example) -> slices.Box:
    """The part that is enlarged: around the truth and all binary predictions, with a margin."""
    masks = [example.truth > 0, *(mask > 0 for mask in example.binary.values())]
    return slices.foreground_box(masks, example.pixel_mm)


def _plot_example(pair: _Pair, names: Sequence[str]) -> None:
    """Fill the two columns of a subject."""
    example, pixel_mm = pair.example, pair.example.pixel_mm
    axes = pair.add_cell(0, 0)
    whole = slices.whole_slice(example.image.shape, pixel_mm)
    slices.plot_slice(axes, example.image, pixel_mm, whole)
    slices.plot_frame(axes, pair.box)
    pair.plot(0, 1, example.truth)
    for row, headings in enumerate((("image", "ground truth"), ("soft", "binary"))):
        for column, heading in enumerate(headings):
            pair.add_text(row, column, heading)
    for row, name in enumerate(names, start=1):
        if name in example.soft:
            pair.plot(row, 0, example.soft[name])
        if name in example.binary:
            slices.plot_outline(pair.plot(row, 1, example.binary[name]), example.truth, pixel_mm)
        if name in example.dice:
            dice = example.dice[name]
            text = "no Dice" if math.isnan(dice) else f"Dice {dice:.1f} %"
            pair.add_text(row, 1, text, below=True)
