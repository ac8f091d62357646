"""STAPLE: how likely each voxel is foreground, given how well each rater seems to do.

Warfield, Zou, Wells 2004 (IEEE TMI 23, 903-921), by SimpleITK's filter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from softseg.core.types import BoolArray, Float32Array

_MARGIN = 2  # voxels around all raters' foreground


def staple(masks: Float32Array) -> Float32Array:
    """Masks (R, X, Y, Z) in [0, 1], foreground from 0.5 on -> probability (X, Y, Z) in [0, 1].

    Estimated in the box around all raters' foreground: the more background there is, the more
    specific every rater looks, whatever the mask. 0 outside it. Where nobody says background
    (or foreground) anywhere, there is nothing to tell raters apart by: all 1 (or 0).
    """
    votes = masks >= 0.5
    probability = np.zeros(votes.shape[1:], np.float32)
    if votes.all():
        return probability + 1
    if not votes.any():
        return probability
    box = _box(np.logical_or.reduce(votes))
    probability[box] = _estimate([vote[box] for vote in votes])
    return probability


def _box(foreground: BoolArray) -> tuple[slice, ...]:
    [found] = ndimage.find_objects(foreground.astype(np.uint8))
    return tuple(
        slice(max(0, span.start - _MARGIN), min(size, span.stop + _MARGIN))
        for span, size in zip(found, foreground.shape, strict=True)
    )


def _estimate(votes: Sequence[BoolArray]) -> Float32Array:
    import SimpleITK as sitk  # noqa: N813 - its own name for itself; slow to import

    estimate = sitk.STAPLEImageFilter()
    estimate.SetForegroundValue(1)
    estimate.SetNumberOfThreads(1)  # sums in one order: the same bits every time
    images = [sitk.GetImageFromArray(vote.astype(np.uint8)) for vote in votes]
    found = sitk.GetArrayFromImage(estimate.Execute(images))
    return np.asarray(found.clip(0, 1), dtype=np.float32)
