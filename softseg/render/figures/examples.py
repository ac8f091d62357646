"""Predictions of selected subjects by each candidate, soft and binary (SoftSeg Figures 5 to 7)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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
        zoomed = slices.ZoomedImage(figure, side, example.image, example.pixel_mm, box_of(example))
        _plot_example(zoomed, example, names, left, first)
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


def _plot_example(
    zoomed: slices.ZoomedImage, example: Example, names: Sequence[str], left: float, first: float
) -> None:
    """Fill the two columns of a subject, from `left`; the first row begins at `first`."""
    figure, side = zoomed.figure, zoomed.side
    lefts = (left, left + (side + _GAP))
    centers = [column + side / 2 for column in lefts]
    tops = [first + row * (side + _LINE) for row in range(max(2, len(names) + 1))]
    zoomed.plot_whole(lefts[0], tops[0])
    zoomed.plot_mask(lefts[1], tops[0], example.truth)
    for top, headings in zip(tops, (("image", "ground truth"), ("soft", "binary")), strict=False):
        for center, heading in zip(centers, headings, strict=True):
            slices.add_text(figure, center, top - 0.1, heading, ha="center")
    for top, name in zip(tops[1:], names, strict=False):
        if name in example.soft:
            zoomed.plot_mask(lefts[0], top, example.soft[name])
        if name in example.binary:
            axes = zoomed.plot_mask(lefts[1], top, example.binary[name])
            slices.plot_outline(axes, example.truth, example.pixel_mm)
        if name in example.dice:
            dice = example.dice[name]
            text = "no Dice" if math.isnan(dice) else f"Dice {dice:.1f} %"
            slices.add_text(figure, centers[1], top + side + 0.1, text, ha="center")
