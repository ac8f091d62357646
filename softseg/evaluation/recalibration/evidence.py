"""The sums over volumes that a recalibration is fitted on, of a size that does not grow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logit

from softseg.core.types import Float64Array, FloatArray
from softseg.metrics.overlap import volume_ml

LOWEST = float(np.finfo(np.float32).tiny)
HIGHEST = 1 - 2.0**-24
"""The smallest and the largest normal float32 number in (0, 1)."""
# bins of the logit: fine both at the background's tiny values and, at q = 0.5, to 0.002
_FIRST, _LAST, _BINS_PER_UNIT = -88, 17, 128
BINS = (_LAST - _FIRST) * _BINS_PER_UNIT


@dataclass(frozen=True, eq=False)
class Evidence:
    """Sums over the voxels with q > 0 in each fine bin of logit(q), and every volume in ml."""

    voxels: Float64Array  # (BINS,)
    predicted: Float64Array  # (BINS,): sum of q
    logits: Float64Array  # (BINS,): sum of logit(q)
    true: Float64Array  # (BINS,): sum of y
    volumes_ml: tuple[tuple[float, float], ...]  # predicted and true soft volume of each

    def __add__(self, other: Evidence) -> Evidence:
        """The evidence of both sets of volumes together."""
        return Evidence(
            self.voxels + other.voxels,
            self.predicted + other.predicted,
            self.logits + other.logits,
            self.true + other.true,
            self.volumes_ml + other.volumes_ml,
        )


def collect_evidence(probability: FloatArray, truth: FloatArray, voxel_ml: float) -> Evidence:
    """Return the evidence of one volume; add up those of a set: `sum(others, start=first)`.

    All voxels of the scan count, not a region around the truth: a fitted map will be applied
    without a truth. Voxels of exactly 0 are left out, since no map changes them.

    Args:
        probability: soft prediction q (X, Y, Z) in [0, 1]; taken as float32, as in files.
        truth: y (X, Y, Z) in [0, 1].
        voxel_ml: volume of one voxel in milliliters.

    Raises:
        ValueError: the shapes differ.
    """
    if probability.shape != truth.shape:
        raise ValueError(f"prediction {probability.shape} and truth {truth.shape} differ in shape")
    volumes = (volume_ml(probability, voxel_ml), volume_ml(truth, voxel_ml))
    none = np.zeros(BINS)
    total = Evidence(none, none, none, none, (volumes,))
    for plane, true_plane in zip(probability, truth, strict=True):  # bounds the memory
        foreground = plane.astype(np.float32) > 0
        q = plane[foreground].astype(np.float32).astype(np.float64)
        y, logits = true_plane[foreground].astype(np.float64), logits_of(q)
        bins = np.clip((logits - _FIRST) * _BINS_PER_UNIT, 0, BINS - 1).astype(np.int64)
        voxels, predicted, logit_sums, true = (
            np.bincount(bins, weights=values, minlength=BINS).astype(np.float64)
            for values in (np.ones_like(q), q, logits, y)
        )
        total += Evidence(voxels, predicted, logit_sums, true, ())
    return total


def logits_of(probability: FloatArray) -> Float64Array:
    """ln(q / (1 - q)) of values in [0, 1], any shape, clipped to `LOWEST` and `HIGHEST`."""
    return np.asarray(logit(np.clip(probability.astype(np.float64), LOWEST, HIGHEST)))
