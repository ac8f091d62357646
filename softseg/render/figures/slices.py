"""Slices (H, W) as figures show them: upright, in millimeters, enlarged, with masks laid over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.patches import Rectangle

from softseg.core.types import AnyArray
from softseg.data.nifti.grid import upright
from softseg.render.figures.style import RED

BLUE = "#40d0ff"
"""Frames and outlines: told apart from gray and red with each kind of color blindness."""
SOFT = LinearSegmentedColormap.from_list("soft", [(*to_rgb(RED), 0), (*to_rgb(RED), 1)])
"""Colors of a prediction: transparent (0) to red (1)."""

Pixel = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A square part of an upright slice: mm from its lower left corner, and mm of each side."""

    left: float
    bottom: float
    side: float


def whole(shape: tuple[int, ...], pixel_mm: Pixel) -> Box:
    """The square around all of a slice (H, W) with pixels of (mm, mm)."""
    width, height = shape[0] * pixel_mm[0], shape[1] * pixel_mm[1]
    side = max(width, height)
    return Box((width - side) / 2, (height - side) / 2, side)


def zoom(
    masks: Sequence[AnyArray], pixel_mm: Pixel, least: float = 0.3, margin: float = 0.2
) -> Box:
    """The square around the foreground of boolean masks (H, W), and a margin on each side.

    `margin` is a part of the foreground's extent, `least` the least part of the slice's longer
    side that is shown. Without foreground it is the whole slice.
    """
    found = upright(np.max([np.asarray(mask, dtype=bool) for mask in masks], axis=0))
    all_of_it = whole(masks[0].shape, pixel_mm)
    if not found.any():
        return all_of_it
    size = (masks[0].shape[0] * pixel_mm[0], masks[0].shape[1] * pixel_mm[1])
    left, right = _extent(found.max(axis=0), pixel_mm[0])
    bottom, top = _extent(found.max(axis=1)[::-1], pixel_mm[1])
    needed = (1 + 2 * margin) * max(right - left, top - bottom)
    side = min(all_of_it.side, max(needed, least * all_of_it.side))
    return Box(_start(left, right, side, size[0]), _start(bottom, top, side, size[1]), side)


def _extent(present: AnyArray, pixel: float) -> tuple[float, float]:
    """From where to where in mm, along one axis."""
    [places] = np.nonzero(present)
    return float(places[0] * pixel), float((places[-1] + 1) * pixel)


def _start(low: float, high: float, side: float, size: float) -> float:
    """Where a side begins: around the middle of what it shows, within the slice if it can be."""
    if side >= size:
        return (size - side) / 2
    return float(np.clip((low + high - side) / 2, 0, size - side))


def show(axes: Axes, image: AnyArray, pixel_mm: Pixel, box: Box) -> None:
    """A part of a slice in gray, black and white at the 1st and 99.5th percentile of that part."""
    shown = np.nan_to_num(upright(image), posinf=0, neginf=0)
    low, high = np.percentile(_part(shown, pixel_mm, box), [1, 99.5])
    _place(axes, shown, pixel_mm, box, cmap="gray", vmin=low, vmax=high)


def overlay(axes: Axes, prediction: AnyArray, pixel_mm: Pixel, box: Box) -> None:
    """A prediction or truth (H, W) in [0, 1], transparent (0, and NaN) to red (1)."""
    _place(axes, upright(prediction), pixel_mm, box, cmap=SOFT, vmin=0, vmax=1)


def outline(axes: Axes, truth: AnyArray, pixel_mm: Pixel) -> None:
    """A thin line around truth >= 0.5."""
    mask = np.pad(upright(truth) >= 0.5, 1)  # so that it closes at the slice's edges, too
    if mask.any():
        x = (np.arange(mask.shape[1]) - 0.5) * pixel_mm[0]
        y = (mask.shape[0] - np.arange(mask.shape[0]) - 1.5) * pixel_mm[1]
        axes.contour(x, y, mask.astype(float), [0.5], colors=[BLUE], linewidths=0.9)


def frame(axes: Axes, box: Box) -> None:
    """A thin line around the part that is enlarged elsewhere."""
    corner = (box.left, box.bottom)
    axes.add_patch(Rectangle(corner, box.side, box.side, fill=False, edgecolor=BLUE, linewidth=1.2))


def _part(shown: AnyArray, pixel_mm: Pixel, box: Box) -> AnyArray:
    """The pixels of an upright slice that lie in a box."""
    tops = shown.shape[0] * pixel_mm[1] - box.bottom
    rows = slice(max(0, round((tops - box.side) / pixel_mm[1])), round(tops / pixel_mm[1]))
    columns = slice(
        max(0, round(box.left / pixel_mm[0])), round((box.left + box.side) / pixel_mm[0])
    )
    return shown[rows, columns]


def _place(axes: Axes, shown: AnyArray, pixel_mm: Pixel, box: Box, **look: Any) -> None:
    extent = (0, shown.shape[1] * pixel_mm[0], 0, shown.shape[0] * pixel_mm[1])
    # each voxel as it is where there is a dot for it, else a mean and not one of several
    few = box.side / min(pixel_mm) <= 150
    axes.imshow(shown, extent=extent, interpolation="nearest" if few else "antialiased", **look)
    axes.set_xlim(box.left, box.left + box.side)
    axes.set_ylim(box.bottom, box.bottom + box.side)
