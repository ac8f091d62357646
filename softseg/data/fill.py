"""The value of a scan where there is no scan: beyond its border, on other grids, in padding."""

from __future__ import annotations

from typing import Literal

import numpy as np

from softseg.core.types import Float32Array, FloatArray

Fill = Literal["minimum"] | float
"""How that value is chosen: near the scan's own minimum, or a number in the scan's units."""
_LOW_SHARE = 0.005
"""Undershoot of interpolation and defective voxels are rarer than this, air is not; the
normalization of CT in nnU-Net clips at the same percentile."""


def background_value(volume: FloatArray, fill: Fill = "minimum") -> float:
    """Return the raw value outside of one contrast (X, Y, Z), in the units of its voxels.

    For `minimum`, it is the voxel value that 0.5 % of the voxels are below. This value is never
    interpolated: it changes with the scan by any constant, and is 0 where the skull was stripped.
    """
    if fill != "minimum":
        return float(fill)
    rank = int(_LOW_SHARE * (volume.size - 1))
    return float(np.partition(volume, rank, axis=None)[rank])


def round_bits(relative: Float32Array) -> Float32Array:
    """Return interpolated values, relative to what is outside, with 18 bits of 24.

    Added to a constant and subtracted from it, they are then the same again; other values would be
    rounded, differently with each constant, and training enlarges such differences.
    """
    step = np.float32(2.0 ** (np.frexp(np.abs(relative).max())[1] - 18))
    return np.asarray(np.rint(relative / step) * step)
