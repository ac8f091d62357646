"""Maps of the distance to a contour, which contour losses multiply predictions with.

A map belongs to a whole slice: of a crop, a contour outside would be forgotten, and a crop without
foreground would have none. A mask without a contour, empty or filling its slice, has no distances
(an exact transform of nothing but ones returns those to a point that does not exist).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt

from softseg.core.types import BoolArray, Float32Array, Float64Array

Spacing = tuple[float, float]

_PIXELS: Spacing = (1.0, 1.0)


def contour_map(mask: BoolArray, spacing: Spacing, kind: str) -> Float32Array:
    """The map of one target in one slice.

    Args:
        mask: (H, W), the target: the soft mask at 0.5 and above, which puts the contour there.
        spacing: size of a pixel along each axis in mm, above 0.
        kind: a name in `KINDS`, which says what it maps, and in which unit.

    Returns:
        (H, W) of negative values inside and positive ones outside; `published` is 0 on the
        innermost layer of a mask. Without a contour, `absent` or `full` of the kind everywhere.

    Raises:
        ValueError: the mask is not boolean (a soft one would be measured from its faintest
            pixel), or there is no such kind.
    """
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise ValueError(f"a map is of a boolean mask (H, W), not {mask.dtype} {mask.shape}")
    drawn = _of(kind)
    inside = ~mask if drawn.of_background else mask
    if inside.all() or not inside.any():
        return np.full(mask.shape, drawn.full if inside.any() else drawn.absent, np.float32)
    return drawn.draw(inside, spacing).astype(np.float32)


def is_length(kind: str) -> bool:
    """Whether a kind is a distance, which grows with its slice when augmentation scales that.

    Raises:
        ValueError: there is no such kind.
    """
    return _of(kind).is_length


def half_pixel(mask: BoolArray, spacing: Spacing) -> Float64Array:
    """Distance in mm from a pixel's center to the contour between the pixels; negative inside.

    Exact: of a pixel's square the point nearest to another center is a corner or the middle of an
    edge. On a grid of twice the resolution these are nodes, between the centers, so that the
    contour is the nodes that squares of both sides share. mask: (H, W), with a contour.
    """
    contour = _squares(mask) & _squares(~mask)
    distance = _distance(~contour, (spacing[0] / 2, spacing[1] / 2))[1::2, 1::2]
    return np.where(mask, -distance, distance)


def _squares(mask: BoolArray) -> BoolArray:
    """(H, W) -> (2H + 1, 2W + 1): all nodes of the pixels' squares, borders included."""
    nodes = np.zeros((2 * mask.shape[0] + 1, 2 * mask.shape[1] + 1), dtype=np.bool_)
    nodes[1::2, 1::2] = mask
    return binary_dilation(nodes, structure=np.ones((3, 3), dtype=np.bool_))


def published(mask: BoolArray, spacing: Spacing) -> Float64Array:
    """The map of Kervadec's code in mm, with which the innermost layer of 1 mm pixels is at 0.

    Float64Array are to the center of the nearest pixel of the other side. The 1 that is taken off
    inside is of their code too, and right for pixels of 1 mm only: of smaller ones, layers inside
    have the sign of the outside. mask: (H, W), with a contour.
    """
    return np.where(mask, 1 - _distance(mask, spacing), _distance(~mask, spacing))


def edt(mask: BoolArray, _spacing: Spacing) -> Float64Array:
    """Distance in pixels to the center of the nearest pixel of the other side; negative inside."""
    return np.where(mask, -_distance(mask, _PIXELS), _distance(~mask, _PIXELS))


def rrw(mask: BoolArray, _spacing: Spacing) -> Float64Array:
    """1 outside; inside from -1, where it is deepest, to nearly 0: relative, hence rectified."""
    depth = _distance(mask, _PIXELS)
    return np.where(mask, -depth / depth.max(), 1.0)


@dataclass(frozen=True)
class Kind:
    """What a map is of; its mask has a contour whenever `draw` is called."""

    draw: Callable[[BoolArray, Spacing], Float64Array]  # (H, W) and mm -> (H, W)
    is_length: bool = True  # in mm, or in pixels
    of_background: bool = False  # the complement is the mask
    absent: float = 0.0  # everywhere, of an empty mask
    full: float = 0.0  # everywhere, of a mask that fills its slice


KINDS = {
    "half_pixel": Kind(half_pixel),
    "published": Kind(published),
    "edt": Kind(edt),
    "edt_background": Kind(edt, of_background=True),
    "rrw": Kind(rrw, is_length=False, absent=1.0, full=-1.0),
    "rrw_background": Kind(rrw, is_length=False, of_background=True, absent=1.0, full=-1.0),
}


def _of(kind: str) -> Kind:
    if kind not in KINDS:
        raise ValueError(f"there is no map {kind!r}; there are {', '.join(KINDS)}")
    return KINDS[kind]


def _distance(mask: BoolArray, spacing: Spacing) -> Float64Array:
    """Of each pixel that is true to the center of the nearest that is false; 0 in those."""
    distance: Float64Array = distance_transform_edt(mask, sampling=spacing)
    return distance
