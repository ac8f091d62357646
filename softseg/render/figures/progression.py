"""How a slice's prediction grows over the epochs, for each candidate (SoftSeg Figure 2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from softseg.core.types import AnyArray
from softseg.render.figures import slices
from softseg.render.figures.style import TEXT, WIDTH, save, wrap

_LEFT, _RIGHT, _GAP, _HEAD = 1.35, 0.75, 0.04, 0.3  # inches
_NOTE = "blue frame: the part that is enlarged"
_ABSENT = "\nno cell: training had ended, or nothing was kept"


@dataclass(frozen=True)
class _Scene:
    """The figure and what its cells share."""

    figure: Figure
    side: float
    """Of a cell, in inches."""
    image: AnyArray
    pixel_mm: slices.PixelSize
    box: slices.Box

    def left(self, column: int) -> float:
        return _LEFT + column * (self.side + _GAP)

    def top(self, row: int) -> float:
        """Row 0 is the image's; the epochs are written between it and row 1."""
        return (2 * _HEAD if row else _HEAD) + row * (self.side + _GAP)

    def add_title(self, row: int, column: int, text: str) -> None:
        middle = self.left(column) + self.side / 2
        slices.add_text(self.figure, middle, self.top(row) - 0.12, text, ha="center", fontsize=TEXT)

    def plot(self, row: int, column: int, prediction: AnyArray) -> None:
        axes = slices.add_cell(self.figure, self.left(column), self.top(row), self.side)
        slices.plot_slice(axes, self.image, self.pixel_mm, self.box)
        slices.plot_overlay(axes, prediction, self.pixel_mm, self.box)


def plot_progression(
    candidates: Mapping[str, Mapping[int, AnyArray]],
    image: AnyArray,
    target: AnyArray,
    path: Path,
    *,
    pixel_mm: slices.PixelSize = (1.0, 1.0),
) -> None:
    """Plot the image and its ground truth; then a row of predictions per candidate.

    The last column is each candidate's own last epoch, as early stopping ends them at different
    ones. All but the image are enlarged around the truth and the last predictions.

    Args:
        candidates: soft prediction (H, W) in [0, 1] of each candidate at each epoch it has.
        image: (H, W), its axes to the patient's right and front.
        target: the ground truth (H, W) in [0, 1].
        path: the PNG to write.
        pixel_mm: size of a pixel along both axes.
    """
    rows = candidates.values()
    epochs = select_epochs(rows)
    columns = len(epochs) + 1
    side = min(1.3, (WIDTH - _LEFT - _RIGHT) / columns - _GAP)
    width = _LEFT + columns * (side + _GAP) + _RIGHT
    height = 2 * _HEAD + (len(candidates) + 1) * (side + _GAP) + 0.1
    last_masks = [row[max(row)] >= 0.5 for row in rows if row]
    box = slices.foreground_box([target > 0, *last_masks], pixel_mm)
    scene = _Scene(Figure(figsize=(width, height)), side, image, pixel_mm, box)
    axes = slices.add_cell(scene.figure, scene.left(0), scene.top(0), side)
    slices.plot_slice(axes, image, pixel_mm, slices.whole_slice(target.shape, pixel_mm))
    slices.plot_frame(axes, box)
    scene.plot(0, 1, target)
    scene.add_title(0, 0, "image")
    scene.add_title(0, 1, "ground truth")
    for column, epoch in enumerate(epochs):
        scene.add_title(1, column, str(epoch) if column else f"epoch {epoch}")
    scene.add_title(1, len(epochs), "last")
    for number, (name, predictions) in enumerate(candidates.items(), start=1):
        _plot_row(scene, number, name, predictions, epochs)
    absent = any(epoch not in row or epoch == max(row) for row in rows for epoch in epochs)
    left = scene.left(2) + 0.2
    slices.add_color_bar(scene.figure, left, _HEAD)
    under = _HEAD + slices.COLOR_BAR[1] + 0.05
    slices.add_text(scene.figure, left, under, _NOTE + absent * _ABSENT, va="top")
    save(scene.figure, path, crop=True)


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
    scene: _Scene, row: int, name: str, predictions: Mapping[int, AnyArray], epochs: list[int]
) -> None:
    """Plot a candidate's name, its predictions, and the number of its last epoch."""
    middle = scene.top(row) + scene.side / 2
    label = wrap(name, 14)
    slices.add_text(scene.figure, _LEFT - 0.1, middle, label, ha="right", fontsize=TEXT)
    last = max(predictions, default=None)
    for column, epoch in enumerate(epochs):
        if epoch in predictions and epoch != last:
            scene.plot(row, column, predictions[epoch])
    if last is not None:
        scene.plot(row, len(epochs), predictions[last])
    note = "nothing\npredicted" if last is None else f"epoch\n{last}"
    slices.add_text(scene.figure, scene.left(len(epochs) + 1) + 0.03, middle, note)
