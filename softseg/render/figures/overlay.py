"""Overlays: the prediction of one scan over its slices, with the outline of the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from softseg.core.types import AnyArray
from softseg.render.figures import slices
from softseg.render.figures.style import TEXT, WIDTH, save, wrap

_EDGE, _GAP, _LINE = 0.1, 0.06, 0.2  # inches
_CELLS = 4  # of a row: the whole slice, and the enlarged ones
_SIDE = round(((WIDTH - 2 * _EDGE - (_CELLS - 1) * _GAP) / _CELLS), 2)
_ROW = _SIDE + 3.4 * _LINE  # with the name of the target above, and two lines below
_LETTERS = 105  # in a line of the width
OPACITY = 0.65
"""Of a prediction of 1, so that the scan below it is seen."""
MOST_SLICES = _CELLS - 1
"""Slices that are shown of a target, at most."""


@dataclass(frozen=True)
class OverlaySlice:
    """A slice with one target; arrays (H, W), axes growing to the patient's right and front."""

    number: str
    """Such as `slice 3 of 20`."""
    reason: str
    """Why it is shown, such as its area."""
    image: AnyArray
    soft: AnyArray
    """Prediction, in [0, 1]."""
    outlined: AnyArray
    """The truth in [0, 1]; without a truth the binary prediction."""
    ignore: AnyArray | None = None
    """True where the truth is unknown; None: nowhere."""


@dataclass(frozen=True)
class Overlay:
    """The slices of one scan that are shown of each target, those with most of it first."""

    title: str
    outline: str
    """What is outlined, for the legend."""
    pixel_mm: slices.PixelSize
    targets: dict[str, Sequence[OverlaySlice]]
    """Target -> 1 to `MOST_SLICES` slices."""


def plot_scan_overlay(overlay: Overlay, path: Path) -> None:
    """Plot a row per target: the whole first slice with a frame, and the framed part of each slice.

    The frame is the same in all slices of a target, around what is predicted and outlined there.
    """
    title = wrap(overlay.title, _LETTERS)
    first = _EDGE + _LINE * (1.5 + title.count("\n"))
    foot = first + len(overlay.targets) * _ROW
    height = foot + slices.COLOR_BAR[1] + _EDGE
    figure = Figure(figsize=(WIDTH, height))
    slices.add_text(figure, _EDGE, _EDGE, title, va="top", fontsize=TEXT)
    for row, (target, shown) in enumerate(overlay.targets.items()):
        _plot_target(figure, target, shown, overlay.pixel_mm, first + row * _ROW)
    slices.add_color_bar(figure, _EDGE, foot, "soft prediction", OPACITY)
    notes = ["blue frame: the part that is enlarged", f"blue line: {overlay.outline}"]
    ignores = (one.ignore for shown in overlay.targets.values() for one in shown)
    if any(ignore is not None and ignore.any() for ignore in ignores):
        notes.append(slices.IGNORED_NOTE)
    slices.add_text(figure, 0.35 + slices.COLOR_BAR[0], foot, "\n".join(notes), va="top")
    save(figure, path, crop=True)


def _plot_target(
    figure: Figure,
    target: str,
    shown: Sequence[OverlaySlice],
    pixel_mm: slices.PixelSize,
    top: float,
) -> None:
    """Plot the row of one target; `top` is in inches."""
    masks = [mask >= 0.5 for one in shown for mask in (one.soft, one.outlined)]
    box = slices.foreground_box(masks, pixel_mm)
    slices.add_text(figure, _EDGE, top + _LINE / 2, wrap(target, _LETTERS), weight="bold")
    cell_top = top + 1.2 * _LINE
    below_style: dict[str, Any] = {"ha": "center", "va": "top", "linespacing": 1.1}
    for cell, one in enumerate([shown[0], *shown]):
        left = _EDGE + cell * (_SIDE + _GAP)
        zoomed = slices.ZoomedImage(figure, _SIDE, one.image, pixel_mm, box, one.ignore)
        below = (left + _SIDE / 2, cell_top + _SIDE + 0.04)
        if cell == 0:
            zoomed.plot_whole(left, cell_top)
            slices.add_text(figure, *below, f"{one.number}, whole", **below_style)
            continue
        axes = zoomed.plot_mask(left, cell_top, one.soft, OPACITY)
        slices.plot_outline(axes, one.outlined, pixel_mm)
        slices.add_text(figure, *below, f"{one.number}\n{one.reason}", **below_style)


def ranked_slices(amounts: AnyArray) -> list[int]:
    """Return the indices of the largest `amounts` (N,), at most `MOST_SLICES`; 0 is left out.

    If all are 0, it is the slice in the middle.
    """
    order = np.argsort(-amounts, kind="stable")[:MOST_SLICES]
    return [int(index) for index in order if amounts[index] > 0] or [len(amounts) // 2]
