"""How a slice's prediction grows over the epochs, for each candidate (SoftSeg Figure 2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from softseg.core.types import AnyArray
from softseg.render.figures import slices
from softseg.render.figures.style import TEXT, WIDTH, save, wrap

_LEFT, _RIGHT, _GAP, _HEAD = 1.35, 0.75, 0.04, 0.3  # inches
_NOTE = "blue frame: the part that is enlarged"
_ABSENT = "\nno cell: training had ended, or nothing was kept"


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
    figure = Figure(figsize=(width, height))
    zoomed = slices.ZoomedImage(figure, side, image, pixel_mm, box)
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
    slices.add_text(figure, left, under, _NOTE + absent * _ABSENT, va="top")
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
