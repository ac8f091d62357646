"""Distances between the surfaces of a prediction and a truth, in mm; volumes (X, Y, Z).

The surface of a mask is its voxels of which a face neighbor is background, and outside the volume
is background. A distance is that from a surface voxel's center to the nearest center on the other
surface: exact, Euclidean, in mm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from softseg.core.types import BoolArray, Float64Array
from softseg.metrics.lesions import ROUNDING, require_masks
from softseg.metrics.overlap import count, percent


def score_surface(
    mask: BoolArray, truth: BoolArray, zooms: Sequence[float], tolerance_mm: float
) -> dict[str, float]:
    """All surface metrics of a predicted mask.

    Args:
        mask: predicted (X, Y, Z).
        truth: (X, Y, Z).
        zooms: (3,) size of a voxel along each axis in mm.
        tolerance_mm: up to which distance `surface_dice` calls a surface voxel right, 0 or more.

    Returns:
        `hd95_mm`, `assd_mm` in mm and `surface_dice` in percent; each NaN where a mask is empty,
        or both are: there is no surface to measure to (MONAI's surface Dice is 0 where only one
        is).

    Raises:
        ValueError: the shapes differ, or a mask is not boolean.
    """
    require_masks(mask, truth)
    if not (mask.any() and truth.any()):
        return dict.fromkeys(["hd95_mm", "assd_mm", "surface_dice"], float("nan"))
    there, back = surface_distances(mask, truth, zooms)
    return {
        "hd95_mm": hd95(there, back),
        "assd_mm": assd(there, back),
        "surface_dice": surface_dice(there, back, tolerance_mm),
    }


def hd95(there: Float64Array, back: Float64Array) -> float:
    """95 % Hausdorff distance in mm: the larger of both directions' 95th percentiles.

    Both as in MONAI, and percentiles interpolated linearly. Others take one percentile of the
    distances of both directions together, which can be much smaller where one surface is large.
    """
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def assd(there: Float64Array, back: Float64Array) -> float:
    """Average symmetric surface distance in mm: the mean over the voxels of both surfaces."""
    return float(np.mean(np.concatenate([there, back])))


def surface_dice(there: Float64Array, back: Float64Array, tolerance_mm: float) -> float:
    """Normalized surface Dice: share of both surfaces within the tolerance of the other, 0-100 %.

    Every surface voxel counts as one (as in MONAI; Nikolov et al. 2018 weigh it by its area).
    A distance of exactly the tolerance is within, rounding of float32 zooms aside.
    """
    limit = tolerance_mm * (1 + ROUNDING)
    return percent(count(there <= limit) + count(back <= limit), there.size + back.size)


def surface_distances(
    mask: BoolArray, truth: BoolArray, zooms: Sequence[float]
) -> tuple[Float64Array, Float64Array]:
    """From each surface voxel of `mask` (P,) to the truth's surface in mm, and back (T,).

    Computed in the box around both, outside of which there is only background. Neither is empty.
    """
    box = _box(mask | truth)
    ours, theirs = surface(mask[box]), surface(truth[box])
    return _to(theirs, ours, zooms), _to(ours, theirs, zooms)


def surface(mask: BoolArray) -> BoolArray:
    """The voxels of a mask (X, Y, Z) of which a face neighbor is background or outside."""
    return mask & ~ndimage.binary_erosion(mask)


def _to(target: BoolArray, start: BoolArray, zooms: Sequence[float]) -> Float64Array:
    distance: Float64Array = ndimage.distance_transform_edt(~target, sampling=zooms)
    return distance[start]


def _box(mask: BoolArray) -> tuple[slice, ...]:
    """The smallest box around the foreground of a mask that is not empty."""
    [box] = ndimage.find_objects(mask.view(np.uint8))
    return box
