"""How a slice's prediction grows over the epochs, for each candidate (SoftSeg Figure 2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from softseg.core.types import AnyArray
from softseg.render.figures import cells, slices
from softseg.render.figures.style import TEXT, WIDTH, save, wrapped

_LEFT, _RIGHT, _GAP, _HEAD = 1.35, 0.75, 0.04, 0.3  # inches
_NOTE = "blue frame: the part that is enlarged"
_ABSENT = "\nno cell: training had ended, or nothing was kept"


@dataclass(frozen=True)
class _Scene:
    """The figure and what all of its cells share."""

    figure: Figure
    side: float
    """of a cell, in inches"""
    image: AnyArray
    pixel_mm: slices.Pixel
    box: slices.Box

    def left(self, column: int) -> float:
        return _LEFT + column * (self.side + _GAP)

    def top(self, row: int) -> float:
        """Row 0 is the image's; epochs stand between it and row 1."""
        return (2 * _HEAD if row else _HEAD) + row * (self.side + _GAP)

    def title(self, row: int, column: int, text: str) -> None:
        middle = self.left(column) + self.side / 2
        cells.write(self.figure, middle, self.top(row) - 0.12, text, ha="center", fontsize=TEXT)

    def show(self, row: int, column: int, prediction: AnyArray) -> None:
        axes = cells.cell(self.figure, self.left(column), self.top(row), self.side)
        slices.show(axes, self.image, self.pixel_mm, self.box)
        slices.overlay(axes, prediction, self.pixel_mm, self.box)


def draw(
    rows: Mapping[str, Mapping[int, AnyArray]],
    image: AnyArray,
    target: AnyArray,
    path: Path,
    *,
    pixel_mm: slices.Pixel = (1.0, 1.0),
) -> None:
    """The image and its ground truth; then one row a candidate, its predictions over the image.

    The last column is each candidate's own last epoch, as early stopping ends them at different
    ones. All but the image are enlarged around the truth and the last predictions.

    Args:
        rows: of each candidate, the soft prediction (H, W) in [0, 1] at each epoch it has.
        image: (H, W), its axes growing to the patient's right and front.
        target: the ground truth (H, W) in [0, 1].
        path: the PNG to write.
        pixel_mm: size of a pixel along both axes.
    """
    epochs = chosen(rows.values())
    columns = len(epochs) + 1
    side = min(1.3, (WIDTH - _LEFT - _RIGHT) / columns - _GAP)
    width = _LEFT + columns * (side + _GAP) + _RIGHT
    height = 2 * _HEAD + (len(rows) + 1) * (side + _GAP) + 0.1
    ends = [row[max(row)] >= 0.5 for row in rows.values() if row]
    box = slices.zoom([target > 0, *ends], pixel_mm)
    scene = _Scene(Figure(figsize=(width, height)), side, image, pixel_mm, box)
    _reference(scene, target)
    for column, epoch in enumerate(epochs):
        scene.title(1, column, str(epoch) if column else f"epoch {epoch}")
    scene.title(1, len(epochs), "last")
    for row, (name, predictions) in enumerate(rows.items(), start=1):
        _row(scene, row, name, predictions, epochs)
    absent = any(epoch not in row or epoch == max(row) for row in rows.values() for epoch in epochs)
    left = scene.left(2) + 0.2
    cells.color_bar(scene.figure, left, _HEAD)
    note = _NOTE + absent * _ABSENT
    cells.write(scene.figure, left, _HEAD + cells.BAR[1] + 0.05, note, va="top")
    save(scene.figure, path, fitted=True)


def chosen(rows: Collection[Mapping[int, AnyArray]], most: int = 7) -> list[int]:
    """Which epochs are shown beside the column of last ones, at most `most` - 1.

    The first and the latest that is not a candidate's last one, and some evenly spread between.
    """
    epochs = sorted({epoch for row in rows for epoch in row if epoch < max(row)})
    if len(epochs) < most:
        return epochs
    places = np.linspace(0, len(epochs) - 1, most - 1).round().astype(int)
    return [epochs[place] for place in places]


def _reference(scene: _Scene, target: AnyArray) -> None:
    """The whole image with a frame around what is enlarged, and the ground truth."""
    axes = cells.cell(scene.figure, scene.left(0), scene.top(0), scene.side)
    slices.show(axes, scene.image, scene.pixel_mm, slices.whole(target.shape, scene.pixel_mm))
    slices.frame(axes, scene.box)
    scene.show(0, 1, target)
    scene.title(0, 0, "image")
    scene.title(0, 1, "ground truth")


def _row(
    scene: _Scene, row: int, name: str, predictions: Mapping[int, AnyArray], epochs: list[int]
) -> None:
    middle = scene.top(row) + scene.side / 2
    label = wrapped(name, 14)
    cells.write(scene.figure, _LEFT - 0.1, middle, label, ha="right", fontsize=TEXT)
    last = max(predictions, default=None)
    for column, epoch in enumerate(epochs):
        if epoch in predictions and epoch != last:
            scene.show(row, column, predictions[epoch])
    if last is not None:
        scene.show(row, len(epochs), predictions[last])
    note = "nothing\npredicted" if last is None else f"epoch\n{last}"
    cells.write(scene.figure, scene.left(len(epochs) + 1) + 0.03, middle, note)
