"""Predictions of chosen subjects by each candidate, soft and binary (SoftSeg Figures 5 to 7)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softseg.core.types import AnyArray
from softseg.render.figures import cells, slices
from softseg.render.figures.style import TEXT, WIDTH, save, wrapped

_LEFT, _GAP, _BETWEEN, _LINE = 1.35, 0.04, 0.16, 0.2  # inches
_NOTE = "blue frame: the part that is enlarged\nblue line: outline of the ground truth"


@dataclass(frozen=True)
class Example:
    """A slice of one subject: all arrays (H, W), axes growing to the patient's right and front."""

    title: str
    image: AnyArray
    truth: AnyArray
    """in [0, 1]"""
    soft: Mapping[str, AnyArray]
    """of each candidate, in [0, 1]"""
    binary: Mapping[str, AnyArray]
    """of each candidate, 0 or 1"""
    pixel_mm: slices.Pixel = (1.0, 1.0)
    dice: Mapping[str, float] = field(default_factory=dict)
    """of each candidate, [%]; NaN where it is undefined"""


@dataclass(frozen=True)
class _Pair:
    """The two columns of cells of one subject."""

    figure: Figure
    example: Example
    box: slices.Box
    left: float
    first: float
    """where the first row begins, in inches as all of these"""
    side: float

    def cell(self, row: int, right: bool) -> Axes:
        return cells.cell(self.figure, self._left(right), self._top(row), self.side)

    def above(self, row: int, right: bool, text: str) -> None:
        self._write(right, self._top(row) - 0.1, text)

    def below(self, row: int, right: bool, text: str) -> None:
        self._write(right, self._top(row) + self.side + 0.1, text)

    def _left(self, right: bool) -> float:
        return self.left + right * (self.side + _GAP)

    def _top(self, row: int) -> float:
        """Between the rows is one line of text, but two between the first ones."""
        return self.first + row * (self.side + _LINE)

    def _write(self, right: bool, top: float, text: str) -> None:
        cells.write(self.figure, self._left(right) + self.side / 2, top, text, ha="center")


def draw(columns: Sequence[Example], path: Path) -> None:
    """One pair of columns a subject, such as the worst, median and best; one row a candidate.

    The first row holds the image and the ground truth, the others the soft and the binary
    prediction. All but the image are enlarged, see `box_of`. A candidate without a prediction of
    a subject has no cells there.
    """
    names = list(dict.fromkeys(name for one in columns for name in one.soft))
    pair = min(3.2, (WIDTH - _LEFT) / len(columns)) - _BETWEEN
    side = (pair - _GAP) / 2
    titles = [wrapped(one.title, max(10, int(pair * 11))) for one in columns]
    head = 0.05 + _LINE * (2 + max(title.count("\n") for title in titles))
    size = (
        _LEFT + len(columns) * (pair + _BETWEEN),
        head + (len(names) + 1) * (side + _LINE) + cells.BAR[1] + 0.2,
    )
    figure = Figure(figsize=size)
    for k, (example, title) in enumerate(zip(columns, titles, strict=True)):
        left = _LEFT + k * (pair + _BETWEEN)
        drawn = _Pair(figure, example, box_of(example), left, head, side)
        cells.write(figure, left + pair / 2, 0.05, title, ha="center", va="top", fontsize=TEXT)
        _column(drawn, names)
    for row, name in enumerate(names, start=1):
        middle = head + row * (side + _LINE) + side / 2
        label = wrapped(name, 14)
        cells.write(figure, _LEFT - 0.1, middle, label, ha="right", fontsize=TEXT)
    foot = size[1] - cells.BAR[1] - 0.05
    cells.color_bar(figure, 0.15, foot)
    cells.write(figure, 0.5 + cells.BAR[0], foot, _NOTE, va="top")
    save(figure, path, fitted=True)


def box_of(example: Example) -> slices.Box:
    """The part that is enlarged: around the truth and all binary predictions, with a margin."""
    masks = [example.truth > 0, *(mask > 0 for mask in example.binary.values())]
    return slices.zoom(masks, example.pixel_mm)


def _column(pair: _Pair, names: Sequence[str]) -> None:
    one = pair.example
    axes = pair.cell(0, False)
    slices.show(axes, one.image, one.pixel_mm, slices.whole(one.image.shape, one.pixel_mm))
    slices.frame(axes, pair.box)
    _overlaid(pair, 0, True, one.truth)
    pair.above(0, False, "image")
    pair.above(0, True, "ground truth")
    pair.above(1, False, "soft")
    pair.above(1, True, "binary")
    for row, name in enumerate(names, start=1):
        _prediction(pair, row, name)


def _prediction(pair: _Pair, row: int, name: str) -> None:
    one = pair.example
    if name in one.soft:
        _overlaid(pair, row, False, one.soft[name])
    if name in one.binary:
        axes = _overlaid(pair, row, True, one.binary[name])
        slices.outline(axes, one.truth, one.pixel_mm)
    if name in one.dice:
        dice = one.dice[name]
        pair.below(row, True, "no Dice" if math.isnan(dice) else f"Dice {dice:.1f} %")


def _overlaid(pair: _Pair, row: int, right: bool, mask: AnyArray) -> Axes:
    one = pair.example
    axes = pair.cell(row, right)
    slices.show(axes, one.image, one.pixel_mm, pair.box)
    slices.overlay(axes, mask, one.pixel_mm, pair.box)
    return axes
