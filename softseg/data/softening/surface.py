"""The surface of a binary mask, which runs between voxels, and smooth versions of volumes."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, special

from softseg.core.types import BoolArray, Float64Array, FloatArray

_TRUNCATE = 5.0  # standard deviations of a Gaussian; 6e-7 of it is further away


def surface_distance(inside: BoolArray, zooms: Float64Array, limit: float) -> Float64Array:
    """Return the distance in mm from voxel centers to the surface of a mask; below 0 inside.

    The surface consists of the faces between voxels of both sides; at the border of the volume
    there is none. The distance is exact for any voxel size, and cut off at `limit` mm on both
    sides.
    """
    outer = _distance_to(inside, zooms, limit)
    inner = _distance_to(~inside, zooms, limit)
    return np.where(inside, -inner, outer)


def _distance_to(voxels: BoolArray, zooms: Float64Array, limit: float) -> Float64Array:
    """Return the distance in mm from every voxel center to the nearest of the boxes `voxels`.

    The squared distance to a box is a sum over axes, so that its minimum over all boxes is found
    axis by axis.
    """
    squared = np.where(voxels, 0.0, limit**2)
    for axis, zoom in enumerate(zooms):
        lines = np.moveaxis(squared, axis, 0)
        nearest = lines.copy()
        for step in range(1, min(int(limit / zoom + 0.5), len(lines) - 1) + 1):
            added = ((step - 0.5) * zoom) ** 2
            nearest[step:] = np.minimum(nearest[step:], lines[:-step] + added)
            nearest[:-step] = np.minimum(nearest[:-step], lines[step:] + added)
        squared = np.moveaxis(nearest, 0, axis)
    return np.sqrt(squared)


def inscribed_radius(inside: BoolArray, zooms: Float64Array, limit: float) -> float:
    """Return the largest distance in mm of a voxel center inside to the surface, up to `limit`."""
    return float(-surface_distance(inside, zooms, limit).min())


def gaussian_blur(volume: FloatArray, zooms: Float64Array, sigma_mm: float) -> Float64Array:
    """Return a volume (X, Y, Z), constant in each voxel, after a Gaussian, at voxel centers.

    The weight of a voxel is the integral of the Gaussian over it, so that the result is exact for
    any voxel size, also for voxels that are larger than `sigma_mm`. Beyond the border the volume
    has the values at the border.
    """
    blurred = np.asarray(volume, dtype=np.float64)
    for axis, zoom in enumerate(zooms):
        if blurred.shape[axis] == 1:
            continue
        edges = np.arange(int(_TRUNCATE * sigma_mm / zoom + 0.5) + 1) + 0.5
        below = special.ndtr(np.concatenate([-edges[::-1], edges]) * zoom / sigma_mm)
        weights = np.diff(below)
        weights /= weights.sum()
        blurred = ndimage.correlate1d(blurred, weights, axis=axis, mode="nearest")
    return blurred


def blur_reach_mm(sigma_mm: float) -> float:
    """Return how far a Gaussian changes values."""
    return _TRUNCATE * sigma_mm
