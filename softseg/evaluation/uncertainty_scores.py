"""Whether uncertainty lies where errors and disagreements are, for one target of one volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from softseg.core.types import BoolArray, Float64Array, FloatArray
from softseg.inference.uncertainty.maps import binary_entropy
from softseg.metrics import TRUTH_THRESHOLD, binarize
from softseg.metrics.calibration import ReliabilityBins, region, reliability, score_calibration
from softseg.metrics.overlap import dice

RETAINED = tuple(k / 20 for k in range(1, 21))
"""Shares of the voxels that are kept, the most certain first."""


@dataclass(frozen=True, eq=False)
class Retained:
    """Share of wrong voxels [%] among those retained, (20,) at `RETAINED`."""

    error: Float64Array
    ideal: Float64Array  # if the wrong ones were left out first

    @property
    def area(self) -> float:
        """Mean error over the shares, in percent: the area under the curve; 0 is best."""
        return float(self.error.mean())


@dataclass(frozen=True, eq=False)
class Sampled:
    """One target of a volume, (X, Y, Z) each: the deterministic prediction and the samples."""

    soft: FloatArray
    mean: FloatArray
    entropy: FloatArray
    mutual_information: FloatArray


@dataclass(frozen=True, eq=False)
class Judged:
    """How far one prediction and its uncertainty can be believed."""

    scores: dict[str, float]  # a row of the table
    curves: dict[str, Retained]  # by what says how uncertain a voxel is; empty where no truth is
    bins: dict[str, ReliabilityBins]  # of the prediction `without` and `with` samples


def judge(
    found: Sampled,
    truth: FloatArray,
    raters: Mapping[str, FloatArray] | None,
    threshold: float,
    zooms: Sequence[float],
) -> Judged:
    """Compare with the truth, and with the raters where there are several, near the truth.

    Args:
        found: what was predicted.
        truth: (X, Y, Z) in [0, 1].
        raters: rater -> mask (X, Y, Z) in [0, 1], or None.
        threshold: from which soft value on a voxel is foreground.
        zooms: (3,) size of a voxel in mm.

    Returns:
        Scores: `dice` [%], `ece`, `ace`, `brier`, each `_without` samples (the deterministic pass)
        and `_with` (their mean); `retained_error` [%], see `Retained.area`, and `rank`, see
        `rank_correlation` with the variance over raters, by the deterministic value's own entropy
        (`_without`), the samples' `_entropy` and their `_mutualinfo`.
    """
    roi, true = region(truth, zooms), binarize(truth, TRUTH_THRESHOLD)
    wrong = binarize(found.soft, threshold) != true
    scores: dict[str, float] = {}
    bins: dict[str, ReliabilityBins] = {}
    for name, soft in (("without", found.soft), ("with", found.mean)):
        measured = {"dice": dice(binarize(soft, threshold), true)}
        measured |= score_calibration(soft, truth, roi)
        scores |= {f"{measure}_{name}": value for measure, value in measured.items()}
        bins[name] = reliability(soft, truth, roi)
    unsure = {
        "without": binary_entropy(found.soft),
        "entropy": found.entropy,
        "mutualinfo": found.mutual_information,
    }
    curves = {name: retained(one, wrong, roi) for name, one in unsure.items()} if roi.any() else {}
    scores |= {f"retained_error_{name}": one.area for name, one in curves.items()}
    if raters:
        apart = disagreement(raters)
        scores |= {f"rank_{n}": rank_correlation(one, apart, roi) for n, one in unsure.items()}
    return Judged(scores, curves, bins)


def retained(uncertainty: FloatArray, wrong: BoolArray, roi: BoolArray) -> Retained:
    """The error among the voxels that are retained, if the most uncertain are left out.

    Args:
        uncertainty: (X, Y, Z), of any unit; voxels of one value each count with their mean error,
            so that their order does not matter.
        wrong: where the mask is not the truth's, (X, Y, Z).
        roi: the voxels that count, (X, Y, Z), one at least.
    """
    values, which, counts = np.unique(uncertainty[roi], return_inverse=True, return_counts=True)
    errors = np.bincount(which, weights=wrong[roi], minlength=values.size) / counts
    found = np.repeat(errors, counts).cumsum()
    kept = np.maximum(1, np.round(np.array(RETAINED) * found.size).astype(int))
    total = found[-1]
    ideal = np.maximum(0, total - (found.size - kept))
    return Retained(100 * found[kept - 1] / kept, 100 * ideal / kept)


def disagreement(raters: Mapping[str, FloatArray]) -> Float64Array:
    """Variance over raters of their masks (X, Y, Z) in [0, 1]: 0 where all draw the same."""
    masks = [np.asarray(mask, dtype=np.float64) for mask in raters.values()]
    return np.asarray(np.stack(masks).var(axis=0))


def rank_correlation(uncertainty: FloatArray, other: FloatArray, roi: BoolArray) -> float:
    """Spearman's rho over the voxels of the ROI, -1 to 1; NaN where either does not vary there.

    Ties share their mean rank.
    """
    one, two = uncertainty[roi], other[roi]
    if one.size < 2 or np.ptp(one) == 0 or np.ptp(two) == 0:
        return float("nan")
    return float(spearmanr(one, two).statistic)
