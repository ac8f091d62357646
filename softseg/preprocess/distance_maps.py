"""Maps of the distance to a contour, by which contour losses multiply predictions.

A map is computed from a whole slice or, for a 3D network, a whole volume: in a crop, a contour
outside it would be forgotten, and a crop without foreground would have none. A mask without a
contour, empty or filling its slice or volume, has no distances (scipy's exact transform would
return those to a point that does not exist).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np
import torch
from scipy.ndimage import binary_dilation, distance_transform_edt
from torch import Tensor

from softseg.core.errors import UserError
from softseg.core.types import BoolArray, Float32Array, Float64Array, FloatArray
from softseg.metrics import TRUTH_THRESHOLD, binarize
from softseg.preprocess.geometry import Geometry, plan_geometry
from softseg.preprocess.interpolation import resample
from softseg.preprocess.samples import Samples, equal_sides
from softseg.preprocess.steps import Crop, Step, label_interpolation

Spacing = tuple[float, ...]
"""Sides of a pixel or voxel in mm, one for each axis."""


def distance_maps(
    target: FloatArray,
    steps: Sequence[Step],
    samples: Samples,
    geometry: Geometry,
    kinds: Sequence[str],
) -> list[Tensor]:
    """Return a map of each kind for every sample, (S, K, *spatial), of native masks (K, X, Y, Z).

    Maps are computed on whole slices or volumes, so that a crop through a structure, or past it,
    changes nothing; then they are cropped. Padding repeats the value at the edge of the scan.
    Raises UserError for a chain that crops before it resamples.
    """
    if not kinds:
        return []
    uncropped_steps = [step for step in steps if not isinstance(step, Crop)]
    uncropped = plan_geometry(geometry.native, uncropped_steps, samples, None)
    order = label_interpolation(steps)
    resampled = [resample(mask, uncropped.native, uncropped.network, order) for mask in target]
    inside = binarize(samples.cut(np.stack(resampled)).numpy(), TRUTH_THRESHOLD)
    spacing = tuple(float(side) for side in uncropped.network.zooms[list(samples.in_plane)])
    offset = np.linalg.solve(uncropped.network.affine, geometry.network.affine)[:3, 3]
    start = np.rint(offset).astype(int)
    if np.abs(offset - start).max() > 1e-3:  # voxels
        raise UserError("a contour loss needs the step `crop` after `resample`, not before it")
    crop = np.ix_(
        range(len(target)),
        *(
            np.clip(start[axis] + np.arange(size), 0, uncropped.network.shape[axis] - 1)
            for axis, size in enumerate(geometry.network.shape)
        ),
    )
    maps = []
    for kind in kinds:
        rows = [[contour_map(mask, spacing, kind) for mask in masks] for masks in inside]
        volumes = samples.stack(torch.from_numpy(np.array(rows, dtype=np.float32)))
        maps.append(samples.cut(volumes[crop]))
    return maps


def contour_map(mask: BoolArray, spacing: Spacing, kind: str) -> Float32Array:
    """Return the map of one target in one slice or volume.

    Args:
        mask: (H, W) or (X, Y, Z), the target: where the soft mask is at least 0.5, so that its
            contour is there.
        spacing: side of a pixel or voxel along each axis in mm, above 0.
        kind: a name in `KINDS`, which defines the map and its unit.

    Returns:
        The shape of the mask, negative inside and positive outside; `published` is 0 on the
        innermost layer of a mask. Without a contour, `absent` or `full` of the kind everywhere.

    Raises:
        ValueError: the mask is not boolean (a soft one would be measured from its faintest
            pixel), or the kind is unknown.
    """
    if mask.dtype != np.bool_ or mask.ndim not in (2, 3):
        raise ValueError(
            f"a map needs a boolean mask (H, W) or (X, Y, Z), not {mask.dtype} {mask.shape}"
        )
    if kind not in KINDS:
        raise ValueError(f"unknown map {kind!r}; the maps are {', '.join(KINDS)}")
    definition = KINDS[kind]
    inside = ~mask if definition.of_background else mask
    if inside.all() or not inside.any():
        value = definition.full if inside.any() else definition.absent
        return np.full(mask.shape, value, np.float32)
    return definition.compute(inside, spacing).astype(np.float32)


def half_pixel(mask: BoolArray, spacing: Spacing) -> Float64Array:
    """Return the distance in mm from pixel centers to the contour between pixels; < 0 inside.

    Exact: of the square of a pixel, the point nearest to another center is a corner or the middle
    of an edge (of a voxel's box: a corner, or the middle of an edge or a face). On a grid of twice
    the resolution these are nodes between the centers, and the contour is the nodes that squares
    or boxes of both sides share. mask: (H, W) or (X, Y, Z), with a contour.
    """
    contour = _nodes(mask) & _nodes(~mask)
    distance = _distance(~contour, tuple(side / 2 for side in spacing))
    distance = distance[(slice(1, None, 2),) * mask.ndim]
    return np.where(mask, -distance, distance)


def _nodes(mask: BoolArray) -> BoolArray:
    """Return all nodes of the pixels' squares, with borders: (H, W) -> (2H + 1, 2W + 1)."""
    nodes = np.zeros([2 * size + 1 for size in mask.shape], dtype=np.bool_)
    nodes[(slice(1, None, 2),) * mask.ndim] = mask
    return binary_dilation(nodes, structure=np.ones((3,) * mask.ndim, dtype=np.bool_))


def published(mask: BoolArray, spacing: Spacing) -> Float64Array:
    """Return the map of Kervadec's code in mm, 0 on the innermost layer of 1 mm pixels.

    Distances are to the center of the nearest pixel of the other side. Their code, too, subtracts
    1 inside, which is right for pixels of 1 mm only: with smaller ones, layers inside have the
    sign of the outside. mask: (H, W) or (X, Y, Z), with a contour.
    """
    return np.where(mask, 1 - _distance(mask, spacing), _distance(~mask, spacing))


def edt(mask: BoolArray, spacing: Spacing) -> Float64Array:
    """Return the distance in pixels to the nearest pixel center of the other side; < 0 inside.

    Of oblong pixels, in sides of square ones of the same area, so that maps can be rotated; of
    voxels, in sides of cubes of the same volume.
    """
    pixels = _in_pixels(spacing)
    return np.where(mask, -_distance(mask, pixels), _distance(~mask, pixels))


def rrw(mask: BoolArray, spacing: Spacing) -> Float64Array:
    """Return 1 outside and the relative depth inside: -1 where it is deepest, to nearly 0."""
    depth = _distance(mask, _in_pixels(spacing))
    return np.where(mask, -depth / depth.max(), 1.0)


@dataclass(frozen=True)
class Kind:
    """The definition of a map; `compute` is called for masks with a contour only."""

    compute: Callable[[BoolArray, Spacing], Float64Array]  # mask and mm -> map
    is_length: bool = True  # in mm or pixels: grows when augmentation enlarges its sample
    of_background: bool = False  # computed for the complement of the mask
    absent: float = 0.0  # everywhere, for an empty mask
    full: float = 0.0  # everywhere, for a mask that fills its sample


KINDS = {
    "half_pixel": Kind(half_pixel),
    "published": Kind(published),
    "edt": Kind(edt),
    "edt_background": Kind(edt, of_background=True),
    "rrw": Kind(rrw, is_length=False, absent=1.0, full=-1.0),
    "rrw_background": Kind(rrw, is_length=False, of_background=True, absent=1.0, full=-1.0),
}


def _in_pixels(spacing: Spacing) -> Spacing:
    """Return the sides of a pixel of area 1, or of a voxel of volume 1, of the same shape."""
    *others, last = spacing
    sides = [1.0 if equal_sides(side, last) else side / last for side in others]
    if len(sides) == 1:
        root = sqrt(sides[0])
        return root, 1 / root
    mean = prod(sides) ** (1 / len(spacing))
    return tuple(side / mean for side in (*sides, 1.0))


def _distance(mask: BoolArray, spacing: Spacing) -> Float64Array:
    """Return the distance of each true pixel to the nearest false one's center; 0 at false ones."""
    distance: Float64Array = distance_transform_edt(mask, sampling=spacing)
    return distance
