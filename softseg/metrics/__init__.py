"""Metrics of one target of one volume, in the native space of its scan."""

from __future__ import annotations

import numpy as np

from softseg.core.types import AnyArray, BoolArray

TRUTH_THRESHOLD = 0.5
"""The fraction of a voxel from which the truth of the binary metrics is foreground."""


def binarize(probability: AnyArray, threshold: float) -> BoolArray:
    """Return which voxels are foreground: `probability >= threshold`, both as float32.

    The only place that decides this for scores and written masks. A file holds 0.3 as the float32
    next to it, which a comparison in float64 would call smaller.
    """
    return np.asarray(probability, dtype=np.float32) >= np.float32(threshold)
