"""STAPLE: the probability that each voxel is foreground, given each rater's estimated performance.

Warfield, Zou, Wells 2004 (IEEE TMI 23, 903-921), by SimpleITK's filter.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from softseg.core.types import BoolArray, Float32Array

_MARGIN = 2  # voxels around all raters' foreground


def staple(masks: Float32Array) -> Float32Array:
    """Fuse masks (R, X, Y, Z) in [0, 1], foreground from 0.5 on, to a probability (X, Y, Z).

    It is estimated in the box around all raters' foreground, as any rater looks more specific the
    more background there is; outside the box it is 0. If no rater has background (or foreground)
    anywhere, raters cannot be compared and it is 1 (or 0) everywhere.
    """
    votes: BoolArray = masks >= 0.5
    probability: Float32Array = np.zeros(votes.shape[1:], np.float32)
    if votes.all():
        return probability + 1
    if not votes.any():
        return probability
    [foreground] = ndimage.find_objects(np.logical_or.reduce(votes).astype(np.uint8))
    box = tuple(
        slice(max(0, span.start - _MARGIN), min(size, span.stop + _MARGIN))
        for span, size in zip(foreground, probability.shape, strict=True)
    )
    import SimpleITK as sitk  # noqa: N813 - its own name for itself; slow to import

    estimate = sitk.STAPLEImageFilter()
    estimate.SetForegroundValue(1)
    estimate.SetNumberOfThreads(1)  # sums in one order: the same bits every time
    images = [sitk.GetImageFromArray(vote[box].astype(np.uint8)) for vote in votes]
    estimated = sitk.GetArrayFromImage(estimate.Execute(images))
    probability[box] = estimated.clip(0, 1).astype(np.float32)
    return probability
