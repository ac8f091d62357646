"""What recalibration is fitted on: sums over volumes, of a fixed size however many there are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from softseg.core.types import Float64Array, FloatArray
from softseg.metrics.volume import volume_ml

LOWEST = float(np.finfo(np.float32).tiny)
HIGHEST = 1 - 2.0**-24
"""Between these lie the float32 numbers of (0, 1), subnormal ones aside."""
# bins of the logit: fine both at the background's tiny values and, at q = 0.5, to 0.002
_FIRST, _LAST, _AN_UNIT = -88, 17, 128
BINS = (_LAST - _FIRST) * _AN_UNIT


@dataclass(frozen=True, eq=False)
class Evidence:
    """Sums over the voxels with q > 0 in each fine bin of logit(q), and every volume in ml."""

    voxels: Float64Array  # (BINS,)
    predicted: Float64Array  # (BINS,): sum of q
    logits: Float64Array  # (BINS,): sum of logit(q)
    true: Float64Array  # (BINS,): sum of y
    volumes_ml: tuple[tuple[float, float], ...]  # predicted and true soft volume of each

    def __add__(self, other: Evidence) -> Evidence:
        """Of both sets of volumes together."""
        return Evidence(
            self.voxels + other.voxels,
            self.predicted + other.predicted,
            self.logits + other.logits,
            self.true + other.true,
            self.volumes_ml + other.volumes_ml,
        )


def evidence(probability: FloatArray, truth: FloatArray, voxel_ml: float) -> Evidence:
    """The evidence of one volume; add up those of a set: `sum(others, start=first)`.

    All voxels of the scan count, not a region around the truth: a fitted map will be applied where
    no truth is known. Voxels of exactly 0 are left out, since no map changes them.

    Args:
        probability: soft prediction q (X, Y, Z) in [0, 1]; taken as float32, as files hold it.
        truth: y (X, Y, Z) in [0, 1].
        voxel_ml: volume of one voxel in milliliters.

    Raises:
        ValueError: the shapes differ.
    """
    if probability.shape != truth.shape:
        raise ValueError(f"prediction {probability.shape} and truth {truth.shape} differ in shape")
    volumes = (volume_ml(probability, voxel_ml), volume_ml(truth, voxel_ml))
    none = np.zeros(BINS)
    planes = zip(probability, truth, strict=True)  # one at a time bounds the memory
    start = Evidence(none, none, none, none, (volumes,))
    return sum((_of_voxels(q, y) for q, y in planes), start=start)


def _of_voxels(probability: FloatArray, truth: FloatArray) -> Evidence:
    """Of any number of voxels, arrays of one shape."""
    seen = probability.astype(np.float32) > 0
    q = probability[seen].astype(np.float32).astype(np.float64)
    y, raw = truth[seen].astype(np.float64), logits_of(q)
    at = np.clip((raw - _FIRST) * _AN_UNIT, 0, BINS - 1).astype(np.int64)
    return Evidence(_sums(at, np.ones_like(q)), _sums(at, q), _sums(at, raw), _sums(at, y), ())


def _sums(at: NDArray[np.int64], values: Float64Array) -> Float64Array:
    return np.bincount(at, weights=values, minlength=BINS).astype(np.float64)


def logits_of(probability: FloatArray) -> Float64Array:
    """ln(q / (1 - q)) of values in [0, 1], any shape, cut to what float32 can tell from 0 and 1."""
    return np.asarray(logit(np.clip(probability.astype(np.float64), LOWEST, HIGHEST)))
