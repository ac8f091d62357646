"""Predictions of slices by each candidate: examples, and how they grow over the epochs.

SoftSeg Figures 5 to 7, and Figure 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import uniform_filter

from softseg.core.types import AnyArray
from softseg.data.nifti.grid import upright
from softseg.render.figures import slices
from softseg.render.figures.style import TEXT, WIDTH, save, wrap

_LEFT, _GAP = 1.35, 0.04  # inches
_BETWEEN, _LINE = 0.16, 0.2
_RIGHT, _HEAD = 0.75, 0.3  # inches
_PIXEL: slices.PixelSize = (1.0, 1.0)  # a run keeps no voxel size of its preview
_LEAST_PIXELS = 10  # along the side of a close-up
_FRAME_NOTE = "blue frame: the part that is enlarged"
_ABSENT = "\nno cell: training had ended, or nothing was kept"
_OUTLINE_NOTE = f"{_FRAME_NOTE}\nblue line: outline of the ground truth"


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
    pixel_mm: slices.PixelSize
    dice: Mapping[str, float]
    """Of each candidate, in %; NaN if it is undefined."""
    ignore: AnyArray | None = None
    """True where the truth is unknown; None: nowhere."""


def box_of(example: Example) -> slices.Box:
    """The part that is enlarged: around the truth and all binary predictions, with a margin."""
    masks = [example.truth > 0, *(mask > 0 for mask in example.binary.values())]
    return slices.foreground_box(masks, example.pixel_mm)


def edge_box(example: Example) -> slices.Box:
    """A third of the side of `box_of`, but at least 10 pixels: where the masks are softest.

    The softness of a voxel is the mean of p (1 - p) over the truth and all soft predictions.
    Without a soft voxel the box is at an edge of the truth; without an edge it is `box_of`.
    """
    outer, pixel = box_of(example), example.pixel_mm
    side = min(outer.side, max(outer.side / 3, _LEAST_PIXELS * max(pixel)))
    masks = np.stack([upright(mask) for mask in (example.truth, *example.soft.values())])
    softness = np.nan_to_num(masks * (1 - masks)).mean(axis=0)
    if not softness.any():
        softness = np.hypot(*np.gradient(masks[0]))
    if not softness.any():
        return outer
    window = [max(1, round(side / length)) for length in pixel[::-1]]
    sums = uniform_filter(softness.astype(np.float64), window, mode="constant")
    row, column = np.unravel_index(sums.argmax(), sums.shape)
    width, height = sums.shape[1] * pixel[0], sums.shape[0] * pixel[1]
    center = ((column + 0.5) * pixel[0], height - (row + 0.5) * pixel[1])
    return slices.box_around(center, side, (width, height))


def plot_examples(
    examples: Sequence[Example], path: Path, box: Callable[[Example], slices.Box] = box_of
) -> None:
    """Plot two columns per subject, such as the worst, median and best, and a row per candidate.

    The first row has the image and the ground truth, the others the soft and the binary
    prediction. All but the image show the part that `box` selects. A candidate without a prediction
    of a subject has no cells there.
    """
    names = list(dict.fromkeys(name for example in examples for name in example.soft))
    width = min(3.2, (WIDTH - _LEFT) / len(examples)) - _BETWEEN
    side = (width - _GAP) / 2
    letters = max(10, int(width * 11))
    titles = [
        "\n".join(wrap(line, letters) for line in example.title.splitlines())
        for example in examples
    ]
    # two lines are between the titles and the first row: its headings, and a gap
    first = 0.05 + _LINE * (2 + max(title.count("\n") for title in titles))
    height = first + (len(names) + 1) * (side + _LINE) + slices.COLOR_BAR[1] + 0.2
    figure = Figure(figsize=(_LEFT + len(examples) * (width + _BETWEEN), height))
    for k, (example, title) in enumerate(zip(examples, titles, strict=True)):
        left = _LEFT + k * (width + _BETWEEN)
        heading = {"ha": "center", "va": "top", "fontsize": TEXT}
        slices.add_text(figure, left + width / 2, 0.05, title, **heading)
        zoomed = slices.ZoomedImage(
            figure, side, example.image, example.pixel_mm, box(example), example.ignore
        )
        _plot_example(zoomed, example, names, left, first)
    for row, name in enumerate(names, start=1):
        middle = first + row * (side + _LINE) + side / 2
        slices.add_text(figure, _LEFT - 0.1, middle, wrap(name, 14), ha="right", fontsize=TEXT)
    foot = height - slices.COLOR_BAR[1] - 0.05
    slices.add_color_bar(figure, 0.15, foot)
    ignored = any(example.ignore is not None and example.ignore.any() for example in examples)
    note = _OUTLINE_NOTE + ignored * f"\n{slices.IGNORED_NOTE}"
    slices.add_text(figure, 0.5 + slices.COLOR_BAR[0], foot, note, va="top")
    save(figure, path, crop=True)


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


def plot_progression(
    candidates: Mapping[str, Mapping[int, AnyArray]],
    image: AnyArray,
    target: AnyArray,
    path: Path,
    ignore: AnyArray | None = None,
) -> None:
    """Plot the image and its ground truth; then a row of predictions per candidate.

    The last column is each candidate's own last epoch, as early stopping ends them at different
    ones. All but the image are enlarged around the truth and the last predictions.

    Args:
        candidates: soft prediction (H, W) in [0, 1] of each candidate at each epoch it has.
        image: (H, W), its axes to the patient's right and front.
        target: the ground truth (H, W) in [0, 1].
        path: the file of the figure.
        ignore: (H, W), true where the truth is unknown; None: nowhere.
    """
    rows = candidates.values()
    epochs = select_epochs(rows)
    columns = len(epochs) + 1
    side = min(1.3, (WIDTH - _LEFT - _RIGHT) / columns - _GAP)
    width = _LEFT + columns * (side + _GAP) + _RIGHT
    height = 2 * _HEAD + (len(candidates) + 1) * (side + _GAP) + 0.1
    last_masks = [row[max(row)] >= 0.5 for row in rows if row]
    box = slices.foreground_box([target > 0, *last_masks], _PIXEL)
    figure = Figure(figsize=(width, height))
    zoomed = slices.ZoomedImage(figure, side, image, _PIXEL, box, ignore)
    lefts = [_LEFT + column * (side + _GAP) for column in range(max(3, columns + 1))]
    # the epochs are written between the image and the first row of predictions
    tops = [_HEAD, *(2 * _HEAD + row * (side + _GAP) for row in range(1, len(candidates) + 1))]
    zoomed.plot_whole(lefts[0], tops[0])
    zoomed.plot_mask(lefts[1], tops[0], target)
    titles = [str(epoch) if column else f"epoch {epoch}" for column, epoch in enumerate(epochs)]
    first = 2 * _HEAD + (side + _GAP)
    for top, row_titles in ((tops[0], ("image", "ground truth")), (first, (*titles, "last"))):
        for left, title in zip(lefts, row_titles, strict=False):
            middle = left + side / 2
            slices.add_text(figure, middle, top - 0.12, title, ha="center", fontsize=TEXT)
    for top, (name, predictions) in zip(tops[1:], candidates.items(), strict=True):
        _plot_row(zoomed, lefts, top, name, predictions, epochs)
    absent = any(epoch not in row or epoch == max(row) for row in rows for epoch in epochs)
    left = lefts[2] + 0.2
    slices.add_color_bar(figure, left, _HEAD)
    under = _HEAD + slices.COLOR_BAR[1] + 0.05
    hatched = "" if ignore is None or not ignore.any() else f"\n{slices.IGNORED_NOTE}"
    slices.add_text(figure, left, under, _FRAME_NOTE + absent * _ABSENT + hatched, va="top")
    save(figure, path, crop=True)


def select_epochs(rows: Collection[Mapping[int, AnyArray]], most: int = 7) -> list[int]:
    """Select the epochs that are shown before the column of last ones, at most `most` - 1.

    The first and the latest that is not a candidate's last one, and some evenly spread between.
    """
    epochs = sorted({epoch for row in rows for epoch in row if epoch < max(row)})
    if len(epochs) < most:
        return epochs
    indices = np.linspace(0, len(epochs) - 1, most - 1).round().astype(int)
    return [epochs[index] for index in indices]


def _plot_row(
    zoomed: slices.ZoomedImage,
    lefts: Sequence[float],
    top: float,
    name: str,
    predictions: Mapping[int, AnyArray],
    epochs: list[int],
) -> None:
    """Plot a candidate's name, its predictions, and the number of its last epoch."""
    figure, middle = zoomed.figure, top + zoomed.side / 2
    slices.add_text(figure, _LEFT - 0.1, middle, wrap(name, 14), ha="right", fontsize=TEXT)
    last = max(predictions, default=None)
    for left, epoch in zip(lefts, epochs, strict=False):
        if epoch in predictions and epoch != last:
            zoomed.plot_mask(left, top, predictions[epoch])
    if last is not None:
        zoomed.plot_mask(lefts[len(epochs)], top, predictions[last])
    note = "nothing\npredicted" if last is None else f"epoch\n{last}"
    slices.add_text(figure, lefts[len(epochs) + 1] + 0.03, middle, note)
