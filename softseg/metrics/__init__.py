"""Metrics of one target of one volume, in the native space of its scan.

Voxels that the ground truth leaves open (`ignore`) are removed from prediction and truth before
anything is computed: they count as background of both, and not at all in means over voxels. A
structure that continues into them is scored as its known part, with a surface at their border.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from softseg.core.types import AnyArray, BoolArray

Number = TypeVar("Number", bound=np.floating)

TRUTH_THRESHOLD = 0.5
"""The fraction of a voxel from which the truth of the binary metrics is foreground."""


def binarize(probability: AnyArray, threshold: float) -> BoolArray:
    """Return which voxels are foreground: `probability >= threshold`, both as float32.

    The only place that decides this for scores and written masks. A file holds 0.3 as the float32
    next to it, which a comparison in float64 would call smaller.
    """
    return np.asarray(probability, dtype=np.float32) >= np.float32(threshold)


def without_ignored(values: NDArray[Number], ignore: BoolArray | None) -> NDArray[Number]:
    """Return a prediction or truth (X, Y, Z) with 0 in the voxels to ignore; None ignores none."""
    return values if ignore is None else np.where(ignore, values.dtype.type(0), values)
