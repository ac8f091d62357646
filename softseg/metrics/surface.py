"""Distances between the surfaces of a prediction and a truth, in mm; volumes (X, Y, Z).

The surface of a mask is its voxels with a background voxel next to one of their faces; outside the
volume is background. A distance is that from a surface voxel's center to the nearest center on the
other surface: exact, Euclidean, in mm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from softseg.core.types import BoolArray, Float64Array, FloatArray
from softseg.metrics import TRUTH_THRESHOLD
from softseg.metrics.lesions import ROUNDING, check_masks
from softseg.metrics.overlap import count, percent


def score_surface(
    mask: BoolArray, truth: BoolArray, zooms: Sequence[float], tolerance_mm: float
) -> dict[str, float]:
    """Compute all surface metrics of a predicted mask.

    `zooms` (3,) is the size of a voxel in mm, `tolerance_mm` (0 or more) the distance up to which
    `surface_dice` counts a surface voxel as right. Ignored voxels must be removed from both masks
    before, so that both have the same surface where they are cut off.

    Returns:
        `hd95_mm`: the 95 % Hausdorff distance, the larger of both directions' 95th percentiles,
        interpolated linearly, as in MONAI. Others take one percentile of the distances of both
        directions together, which can be much smaller where one surface is large.
        `assd_mm`: the average symmetric surface distance, over both surfaces' voxels.
        `surface_dice`: the normalized surface Dice, the fraction of both surfaces within the
        tolerance, in percent. Every surface voxel counts as one (as in MONAI; Nikolov et al. 2018
        weigh it by its area), and a distance of exactly the tolerance is within.
        Each is NaN where a mask is empty: there is no surface to measure to (MONAI's surface Dice
        is 0 where only one is empty).

    Raises:
        ValueError: the shapes differ, or a mask is not boolean.
    """
    check_masks(mask, truth)
    if not (mask.any() and truth.any()):
        return dict.fromkeys(["hd95_mm", "assd_mm", "surface_dice"], float("nan"))
    to_truth, to_mask = surface_distances(mask, truth, zooms)
    limit = tolerance_mm * (1 + ROUNDING)
    within = count(to_truth <= limit) + count(to_mask <= limit)
    return {
        "hd95_mm": float(max(np.percentile(to_truth, 95), np.percentile(to_mask, 95))),
        "assd_mm": float(np.mean(np.concatenate([to_truth, to_mask]))),
        "surface_dice": percent(within, to_truth.size + to_mask.size),
    }


def surface_distances(
    mask: BoolArray, truth: BoolArray, zooms: Sequence[float]
) -> tuple[Float64Array, Float64Array]:
    """Return the distance in mm of each surface voxel of `mask` (P,) and of the truth (T,).

    Each distance is to the other's surface. Neither mask may be empty. Computed in the smallest
    box around both, outside of which there is only background.
    """
    [box] = ndimage.find_objects((mask | truth).view(np.uint8))
    mask_surface, true_surface = surface(mask[box]), surface(truth[box])
    to_truth: Float64Array = ndimage.distance_transform_edt(~true_surface, sampling=zooms)
    to_mask: Float64Array = ndimage.distance_transform_edt(~mask_surface, sampling=zooms)
    return to_truth[mask_surface], to_mask[true_surface]


def soft_assd(probability: FloatArray, truth: FloatArray, zooms: Sequence[float]) -> float:
    """Return the average symmetric distance in mm between the surfaces of two soft maps.

    The surface of a map (X, Y, Z) in [0, 1] is where it crosses 0.5 between the centers of two
    voxels with a common face, by linear interpolation, so that it is known within a voxel; outside
    the volume is 0. Of binary maps it is half way between the voxels. A distance is that to the
    nearest such point, which exceeds the distance of two close oblique surfaces, at most by the
    factor sqrt(3). `zooms` (3,) is the size of a voxel in mm. NaN if a map does not reach 0.5
    anywhere.
    """
    surfaces = [_crossings(values) * np.asarray(zooms) for values in (probability, truth)]
    if not all(len(points) for points in surfaces):
        return float("nan")
    predicted, true = surfaces
    to_truth, to_prediction = (
        KDTree(other).query(points)[0] for points, other in ((predicted, true), (true, predicted))
    )
    return float(np.mean(np.concatenate([to_truth, to_prediction])))


def _crossings(values: FloatArray) -> Float64Array:
    """Return the points (N, 3), in voxels, where a map crosses 0.5 between two voxels."""
    padded = np.pad(values.astype(np.float64), 1)
    points = []
    for axis in range(padded.ndim):
        first, second = (np.delete(padded, end, axis) for end in (-1, 0))
        crossed = np.nonzero((first >= TRUTH_THRESHOLD) != (second >= TRUTH_THRESHOLD))
        steps = (TRUTH_THRESHOLD - first[crossed]) / (second[crossed] - first[crossed])
        place = np.stack(crossed, axis=1).astype(np.float64)
        place[:, axis] += steps
        points.append(place)
    return np.concatenate(points)


def surface(mask: BoolArray) -> BoolArray:
    """Return the voxels of a mask (X, Y, Z) that touch background, or the outside, with a face."""
    return mask & ~ndimage.binary_erosion(mask)
