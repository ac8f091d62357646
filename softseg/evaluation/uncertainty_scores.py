"""How well uncertainty marks errors and disagreements, for one target of one volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from softseg.core.types import BoolArray, Float64Array, FloatArray
from softseg.inference.uncertainty.maps import binary_entropy
from softseg.metrics import TRUTH_THRESHOLD, binarize, without_ignored
from softseg.metrics.calibration import ReliabilityBins, region, reliability, score_calibration
from softseg.metrics.overlap import dice

RETAINED = tuple(k / 20 for k in range(1, 21))
"""Shares of the voxels that are retained, the most certain first."""


@dataclass(frozen=True, eq=False)
class RetentionCurve:
    """Share of wrong voxels [%] among those retained, (20,) at `RETAINED`."""

    error: Float64Array
    ideal: Float64Array  # if the wrong voxels were left out first

    @property
    def area(self) -> float:
        """Mean error over the shares, in percent: the area under the curve; 0 is best."""
        return float(self.error.mean())


@dataclass(frozen=True, eq=False)
class SampledTarget:
    """One target of a volume, (X, Y, Z) each: the deterministic prediction and the samples."""

    soft: FloatArray
    mean: FloatArray
    entropy: FloatArray
    mutual_information: FloatArray


@dataclass(frozen=True, eq=False)
class UncertaintyScores:
    """The scores of one target of one volume, without and with samples."""

    scores: dict[str, float]  # a row of the table
    curves: dict[str, RetentionCurve]  # by measure of uncertainty; empty if the truth is
    bins: dict[str, ReliabilityBins]  # of the prediction `without` and `with` samples


def score_uncertainty(
    prediction: SampledTarget,
    truth: FloatArray,
    raters: Mapping[str, FloatArray] | None,
    threshold: float,
    zooms: Sequence[float],
    ignore: BoolArray | None = None,
) -> UncertaintyScores:
    """Compare a prediction with the truth and, near the truth, with several raters.

    Args:
        prediction: without and with samples.
        truth: (X, Y, Z) in [0, 1].
        raters: rater -> mask (X, Y, Z) in [0, 1], or None.
        threshold: least soft value of foreground.
        zooms: (3,) size of a voxel in mm.
        ignore: (X, Y, Z), the voxels whose truth is unknown, which do not count; None: none.

    Returns:
        Scores: `dice` [%], `ece`, `ace`, `brier`, each `_without` samples (the deterministic pass)
        and `_with` (their mean); `retained_error` [%], see `RetentionCurve.area`, and `rank`, see
        `rank_correlation` with the variance over raters, by the deterministic value's own entropy
        (`_without`), the samples' `_entropy` and their `_mutualinfo`.
    """
    truth = without_ignored(truth, ignore)
    roi, true = region(truth, zooms), binarize(truth, TRUTH_THRESHOLD)
    roi = roi if ignore is None else roi & ~ignore
    wrong = binarize(prediction.soft, threshold) != true
    scores: dict[str, float] = {}
    bins: dict[str, ReliabilityBins] = {}
    for name, soft in (("without", prediction.soft), ("with", prediction.mean)):
        known = without_ignored(soft, ignore)
        metrics = {"dice": dice(binarize(known, threshold), true)}
        metrics |= score_calibration(soft, truth, roi)
        scores |= {f"{metric}_{name}": value for metric, value in metrics.items()}
        bins[name] = reliability(soft, truth, roi)
    measures = {
        "without": binary_entropy(prediction.soft),
        "entropy": prediction.entropy,
        "mutualinfo": prediction.mutual_information,
    }
    curves: dict[str, RetentionCurve] = {}
    if roi.any():
        curves = {name: retention_curve(values, wrong, roi) for name, values in measures.items()}
    scores |= {f"retained_error_{name}": curve.area for name, curve in curves.items()}
    if raters:
        variance = rater_variance(raters)
        for name, values in measures.items():
            scores[f"rank_{name}"] = rank_correlation(values, variance, roi)
    return UncertaintyScores(scores, curves, bins)


def retention_curve(uncertainty: FloatArray, wrong: BoolArray, roi: BoolArray) -> RetentionCurve:
    """Return the error among the retained voxels if the most uncertain ones are left out.

    Args:
        uncertainty: (X, Y, Z), of any unit; voxels of equal value count with their mean error, so
            that their order does not matter.
        wrong: where the mask differs from the truth's, (X, Y, Z).
        roi: the voxels that count, (X, Y, Z), at least one.
    """
    values, which, counts = np.unique(uncertainty[roi], return_inverse=True, return_counts=True)
    mean_errors = np.bincount(which, weights=wrong[roi], minlength=values.size) / counts
    errors = np.repeat(mean_errors, counts).cumsum()
    kept = np.maximum(1, np.round(np.array(RETAINED) * errors.size).astype(int))
    ideal = np.maximum(0, errors[-1] - (errors.size - kept))
    return RetentionCurve(100 * errors[kept - 1] / kept, 100 * ideal / kept)


def rater_variance(raters: Mapping[str, FloatArray]) -> Float64Array:
    """The variance over raters of their masks (X, Y, Z) in [0, 1]; 0 where all agree."""
    masks = [np.asarray(mask, dtype=np.float64) for mask in raters.values()]
    return np.asarray(np.stack(masks).var(axis=0))


def rank_correlation(uncertainty: FloatArray, variance: FloatArray, roi: BoolArray) -> float:
    """Spearman's rho over the voxels of the ROI, -1 to 1; NaN if either is constant there.

    Ties share their mean rank.
    """
    x, y = uncertainty[roi], variance[roi]
    if x.size < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(spearmanr(x, y).statistic)
