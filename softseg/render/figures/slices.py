"""Slices in figures: cells placed in inches, enlarged parts, masks over images, outlines.

Cells are not placed by a layout engine, which would leave wide gaps between images. Slices (H, W)
are in canonical order (H to the patient's right, W to the front) and are shown upright.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from softseg.core.types import AnyArray
from softseg.data.nifti.grid import upright
from softseg.render.figures.style import DPI, INK, RED, SMALL, SMALL_FONT

BLUE = "#40d0ff"
"""Color of frames and outlines: differs from gray and red with each kind of color blindness."""
COLOR_BAR = (1.4, 0.55)
"""Width and height of the color bar and its labels in inches."""
TARGET_COLORS = (BLUE, "#ffa90e", "#f070f0", "#7ee081", "#ff6b5e")
"""Colors of the outlines of several targets; they repeat from the sixth on."""
IGNORED_NOTE = "gray hatching: ignored, as its truth is unknown"
_HATCH_COLOR = "#a8a8a8"

PixelSize = tuple[float, float]
"""In mm, along H and W."""


@dataclass(frozen=True)
class Box:
    """A square part of an upright slice: mm from its lower left corner, and mm of each side."""

    left: float
    bottom: float
    side: float


@dataclass(frozen=True)
class ZoomedImage:
    """An image (H, W) and an enlarged part of it, for cells of a figure."""

    figure: Figure
    side: float
    """Of a cell, in inches."""
    image: AnyArray
    pixel_mm: PixelSize
    box: Box
    ignore: AnyArray | None = None
    """(H, W), true where the truth is unknown; None: nowhere."""

    def plot_whole(self, left: float, top: float) -> None:
        """Show the whole image in a cell, with a frame around the enlarged part."""
        axes = add_cell(self.figure, left, top, self.side)
        plot_slice(axes, self.image, self.pixel_mm, whole_slice(self.image.shape, self.pixel_mm))
        corner, side = (self.box.left, self.box.bottom), self.box.side
        axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=BLUE, linewidth=1.2))

    def plot_mask(self, left: float, top: float, mask: AnyArray, opacity: float = 1.0) -> Axes:
        """Show a mask in [0, 1] over the enlarged part in a cell, and what is ignored."""
        axes = add_cell(self.figure, left, top, self.side)
        plot_slice(axes, self.image, self.pixel_mm, self.box)
        plot_overlay(axes, mask, self.pixel_mm, self.box, opacity)
        plot_ignored(axes, self.ignore, self.pixel_mm)
        return axes


def add_cell(figure: Figure, left: float, top: float, side: float) -> Axes:
    """Add square axes without ticks; `left` and `top` are inches from the upper left corner."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, 1 - (top + side) / height, side / width, side / height))
    axes.set(xticks=[], yticks=[], facecolor="black")
    axes.spines[:].set_visible(False)
    return axes


def add_text(figure: Figure, left: float, top: float, text: str, **style: Any) -> None:
    """Write small text, positioned like `add_cell` and centered vertically."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - top / height, text, **{"va": "center", **SMALL_FONT, **style})


def add_legend_lines(
    figure: Figure, left: float, top: float, spacing: float, lines: Sequence[tuple[str, str]]
) -> None:
    """Write lines of text, each after a short line of its color; "none": without one. In inches."""
    width, height = figure.get_size_inches()
    for number, (text, color) in enumerate(lines):
        middle = top + (number + 0.5) * spacing
        ends = [left / width, (left + 0.25) / width]
        figure.add_artist(Line2D(ends, [1 - middle / height] * 2, color=color, linewidth=2))
        add_text(figure, left + 0.33 * (color != "none"), middle, text)


def whole_pixels(inches: float) -> float:
    """Round to whole pixels, so that every image ends at the edge of its cell."""
    return round(inches * DPI) / DPI


def add_color_bar(
    figure: Figure, left: float, top: float, title: str = "prediction, truth", opacity: float = 1.0
) -> None:
    """Explain the colors of `plot_overlay`; COLOR_BAR inches wide and high."""
    width, height = figure.get_size_inches()
    add_text(figure, left, top + 0.1, title)
    bar = figure.add_axes(
        (left / width, 1 - (top + 0.33) / height, COLOR_BAR[0] / width, 0.12 / height)
    )
    colors = _soft_colors(opacity)
    bar.imshow(np.linspace(0, 1, 256)[None], cmap=colors, aspect="auto", extent=(0, 1, 0, 1))
    bar.set(xticks=[0, 0.5, 1], xticklabels=["0", "0.5", "1"], yticks=[])
    bar.tick_params(labelsize=SMALL, labelcolor=INK, length=2, pad=2)
    bar.spines[:].set_linewidth(0.5)


def whole_slice(shape: tuple[int, ...], pixel_mm: PixelSize) -> Box:
    """The square around a slice (H, W)."""
    width, height = shape[0] * pixel_mm[0], shape[1] * pixel_mm[1]
    side = max(width, height)
    return Box((width - side) / 2, (height - side) / 2, side)


def foreground_box(
    masks: Sequence[AnyArray], pixel_mm: PixelSize, least: float = 0.3, margin: float = 0.2
) -> Box:
    """The square around the foreground of boolean masks (H, W), with a margin on each side.

    `margin` is a fraction of the foreground's extent, `least` the least fraction of the slice's
    longer side. Without foreground it is the whole slice. The box is within the slice if it can be.
    """
    foreground = upright(np.max([np.asarray(mask, dtype=bool) for mask in masks], axis=0))
    whole = whole_slice(masks[0].shape, pixel_mm)
    if not foreground.any():
        return whole
    # along x from the left, along y from below
    profiles = (foreground.max(axis=0), foreground.max(axis=1)[::-1])
    ends = [
        (np.flatnonzero(profile)[[0, -1]] + [0, 1]) * pixel
        for profile, pixel in zip(profiles, pixel_mm, strict=True)
    ]
    needed = (1 + 2 * margin) * max(high - low for low, high in ends)
    side = float(min(whole.side, max(needed, least * whole.side)))
    lengths = (masks[0].shape[0] * pixel_mm[0], masks[0].shape[1] * pixel_mm[1])
    return box_around((ends[0].sum() / 2, ends[1].sum() / 2), side, lengths)


def box_around(center: tuple[float, float], side: float, lengths: tuple[float, float]) -> Box:
    """The box around a point of an upright slice, moved into the slice if it can be; all in mm.

    `center` is from the lower left corner, and `lengths` are those of the slice, along x and y.
    """
    left, bottom = (
        float(np.clip(middle - side / 2, 0, length - side))
        if side < length
        else (length - side) / 2
        for middle, length in zip(center, lengths, strict=True)
    )
    return Box(left, bottom, side)


def plot_slice(
    axes: Axes,
    image: AnyArray,
    pixel_mm: PixelSize,
    box: Box,
    gray_range: tuple[float, float] | None = None,
) -> None:
    """Show a part of a slice in gray, with the values that are black and white.

    By default these are the 1st and 99.5th percentile of the part (`gray_range_of`).
    """
    shown = np.nan_to_num(upright(image), posinf=0, neginf=0)
    low, high = gray_range or gray_range_of(image, pixel_mm, box)
    _plot_pixels(axes, shown, pixel_mm, box, cmap="gray", vmin=low, vmax=high)


def gray_range_of(image: AnyArray, pixel_mm: PixelSize, box: Box) -> tuple[float, float]:
    """Return the 1st and 99.5th percentile of a part of a slice: what is black and white in it."""
    shown = np.nan_to_num(upright(image), posinf=0, neginf=0)
    top = shown.shape[0] * pixel_mm[1] - box.bottom
    rows = slice(max(0, round((top - box.side) / pixel_mm[1])), round(top / pixel_mm[1]))
    right = box.left + box.side
    columns = slice(max(0, round(box.left / pixel_mm[0])), round(right / pixel_mm[0]))
    low, high = np.percentile(shown[rows, columns], [1, 99.5])
    return float(low), float(high)


def plot_overlay(
    axes: Axes, prediction: AnyArray, pixel_mm: PixelSize, box: Box, opacity: float = 1.0
) -> None:
    """Show a prediction or truth (H, W) in [0, 1], transparent (0, and NaN) to red (1).

    `opacity` is that of a value of 1.
    """
    colors = _soft_colors(opacity)
    _plot_pixels(axes, upright(prediction), pixel_mm, box, cmap=colors, vmin=0, vmax=1)


def _soft_colors(opacity: float) -> LinearSegmentedColormap:
    """Return the colors from transparent to red of this opacity."""
    return LinearSegmentedColormap.from_list("soft", [(*to_rgb(RED), 0), (*to_rgb(RED), opacity)])


def plot_outline(axes: Axes, truth: AnyArray, pixel_mm: PixelSize) -> None:
    """Draw a thin line along the edges of the pixels with truth >= 0.5."""
    inside = np.pad(upright(truth) >= 0.5, 1)  # so that it closes at the slice's edges, too
    row, column = np.nonzero(inside[1:] != inside[:-1])
    across = np.stack([column - 1, row, column, row], axis=1)
    row, column = np.nonzero(inside[:, 1:] != inside[:, :-1])
    along = np.stack([column, row - 1, column, row], axis=1)
    # (edges, 2 ends, x and y) in mm from the upper left corner, then from the lower left one
    edges = np.concatenate([across, along]).reshape(-1, 2, 2) * np.asarray(pixel_mm)
    edges[..., 1] = (inside.shape[0] - 2) * pixel_mm[1] - edges[..., 1]
    lines = LineCollection(list(edges), colors=BLUE, linewidths=0.9, capstyle="projecting")
    axes.add_collection(lines, autolim=False)


def plot_level(
    axes: Axes,
    mask: AnyArray,
    pixel_mm: PixelSize,
    color: str,
    level: float = 0.5 - 1e-6,
    style: Literal["solid", "dotted"] = "solid",
) -> None:
    """Draw a thin line where a mask (H, W) has a level, between pixels, if it reaches it."""
    x, y, padded = _contour_data(mask, pixel_mm)
    if padded.max() >= level:
        axes.contour(x, y, padded, [level], colors=[color], linewidths=0.7, linestyles=style)


def plot_ignored(axes: Axes, ignore: AnyArray | None, pixel_mm: PixelSize) -> None:
    """Hatch the voxels (H, W) whose truth is unknown in gray; None: no voxel."""
    if ignore is not None and np.any(ignore):
        with mpl.rc_context({"hatch.color": _HATCH_COLOR, "hatch.linewidth": 0.7}):
            contour = _contour_data(np.asarray(ignore) > 0, pixel_mm)
            axes.contourf(*contour, [0.5, 1.5], colors="none", hatches=["////////"])


def _contour_data(mask: AnyArray, pixel_mm: PixelSize) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Return x, y and values of the pixels of a slice (H, W), for contours."""
    padded = np.pad(upright(mask), 1)  # so that it closes at the slice's edges, too
    x = (np.arange(padded.shape[1]) - 0.5) * pixel_mm[0]
    y = (padded.shape[0] - np.arange(padded.shape[0]) - 1.5) * pixel_mm[1]
    return x, y, padded


def _plot_pixels(axes: Axes, shown: AnyArray, pixel_mm: PixelSize, box: Box, **style: Any) -> None:
    """Show an upright slice at its size in mm, limited to a box."""
    extent = (0, shown.shape[1] * pixel_mm[0], 0, shown.shape[0] * pixel_mm[1])
    # single voxels where the cell has a pixel for each, else means of several
    few = box.side / min(pixel_mm) <= 150
    axes.imshow(shown, extent=extent, interpolation="nearest" if few else "antialiased", **style)
    axes.set_xlim(box.left, box.left + box.side)
    axes.set_ylim(box.bottom, box.bottom + box.side)
