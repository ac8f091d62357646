"""Scores of soft predictions against several raters, as the challenges QUBIQ and CURVAS rank them.

Arrays (X, Y, Z) of one target. CURVAS scores all structures of a scan together, with the background
as one more class; here the classes are the target and everything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from softseg.core.types import BoolArray, Float64Array, FloatArray
from softseg.metrics import binarize
from softseg.metrics.overlap import dice, volume_ml

QUBIQ_THRESHOLDS = tuple(k / 10 for k in range(1, 10))
ECE_BINS = 50
"""Bins of the confidence in `multirater_ece`, as in CURVAS."""


def qubiq_score(probability: FloatArray, truth: FloatArray) -> float:
    """Return the Dice of soft maps, averaged over the thresholds 0.1, 0.2, ..., 0.9, in percent.

    Both maps are binarized at the same threshold (foreground is >=). The truth is the mean of the
    raters, in [0, 1]. 100 % if the maps are equal, unlike the soft Dice. A threshold at which both
    are empty is left out of the mean; NaN if all are.

    Source: Menze et al., QUBIQ 2020 (Quantification of Uncertainties in Biomedical Image
    Quantification), evaluation.
    """
    scores = [dice(binarize(probability, t), binarize(truth, t)) for t in QUBIQ_THRESHOLDS]
    return float(np.nanmean(scores)) if not np.isnan(scores).all() else float("nan")


def score_curvas(
    probability: FloatArray,
    raters: Mapping[str, BoolArray],
    voxel_ml: float,
    ignore: BoolArray | None = None,
) -> dict[str, float]:
    """Compute `crps_ml` and `ece_raters` of a soft prediction in [0, 1]; 0 is best.

    `raters` holds the mask of each rater, at least one; `ignore` marks voxels that do not count,
    where prediction and masks are 0.

    Source: Riera-Marín et al., CURVAS 2024 (Calibration and Uncertainty for multiRater Volume
    Assessment).
    """
    volumes = [volume_ml(mask, voxel_ml) for mask in raters.values()]
    counted = np.ones(probability.shape, dtype=bool) if ignore is None else ~ignore
    masks = [mask[counted] for mask in raters.values()]
    return {
        "crps_ml": crps(volume_ml(probability, voxel_ml), volumes),
        "ece_raters": multirater_ece(probability[counted], masks),
    }


def crps(volume: float, of_raters: Sequence[float]) -> float:
    """Return the continuous ranked probability score of a volume, in its unit; 0 is best.

    The integral of (F(x) - [x >= volume])^2, where F is the normal distribution with the mean and
    the population standard deviation of the raters' volumes (closed form: Gneiting and Raftery
    2007, equation 21). It is |volume - mean| if all raters have the same volume. CURVAS integrates
    within 3 standard deviations of the mean only, where it does not grow further.
    """
    mean, deviation = float(np.mean(of_raters)), float(np.std(of_raters))
    if deviation == 0:
        return abs(volume - mean)
    z = (volume - mean) / deviation
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return float(deviation * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi)))


def multirater_ece(probability: FloatArray, raters: Sequence[BoolArray]) -> float:
    """Return the expected calibration error against each rater, averaged over raters, in [0, 1].

    Over all voxels (N,) of the scan, unlike `ece`: the confidence of a voxel is the larger
    probability of target and background, its accuracy whether that class is the rater's. The bins'
    |mean accuracy - mean confidence| is weighted by their voxels, in 50 equal bins of which the
    last holds a confidence of 1 alone. NaN without a voxel.
    """
    q = probability.astype(np.float64)
    if not q.size:
        return float("nan")
    confidence = np.maximum(q, 1 - q)
    index = np.searchsorted(np.linspace(0, 1, ECE_BINS + 1), confidence, side="right")
    errors = [_gap(index, confidence, (q > 0.5) == mask) for mask in raters]
    return float(np.mean(errors))


def _gap(index: NDArray[np.intp], confidence: Float64Array, is_right: BoolArray) -> float:
    """Return the sum over bins of |accuracy - confidence|, as a mean over voxels (N,)."""
    difference = np.bincount(index, weights=is_right - confidence)
    return float(np.abs(difference).sum()) / len(confidence)
