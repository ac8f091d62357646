"""Metrics of one target of one volume, in the native space of its scan."""

from __future__ import annotations

import numpy as np

from softseg.core.types import AnyArray, BoolArray, FloatArray
from softseg.metrics.overlap import dice, precision, recall, soft_dice
from softseg.metrics.volume import avd, mse, mse_paper, rvd, volume_ml

__all__ = [
    "avd",
    "binarize",
    "dice",
    "mse",
    "mse_paper",
    "precision",
    "recall",
    "rvd",
    "score",
    "soft_dice",
    "volume_ml",
]

TRUTH_THRESHOLD = 0.5
"""From which fraction of a voxel on the truth of the binary metrics is foreground."""


def binarize(probability: AnyArray, threshold: float) -> BoolArray:
    """The one rule of what is foreground: `probability >= threshold`, both as float32.

    A file holds 0.3 as the float32 next to it, which a comparison in float64 calls smaller.
    """
    return np.asarray(probability, dtype=np.float32) >= np.float32(threshold)


def score(
    probability: FloatArray,
    truth: FloatArray,
    mask: BoolArray,
    voxel_ml: float,
    slice_axis: int = 2,
) -> dict[str, float]:
    """Overlap, volume and soft error of a prediction: the columns that `metrics.csv` always has.

    Args:
        probability: soft prediction (X, Y, Z) in [0, 1].
        truth: (X, Y, Z) in [0, 1], soft or 0/1; the binary metrics take what is >= 0.5.
        mask: binary prediction (X, Y, Z).
        voxel_ml: volume of one voxel in milliliters.
        slice_axis: the axis along which the model sliced the volume, for `mse_paper`.

    Returns:
        Percent, but milliliters where the name says so; NaN where a metric is not defined
        (an empty truth or prediction; see each metric). `mse`, `soft_dice` and
        `soft_volume_ml` are of the soft prediction, all others of the binary one.

    Raises:
        ValueError: the shapes differ.
    """
    if probability.shape != truth.shape:
        raise ValueError(f"prediction {probability.shape} and truth {truth.shape} differ in shape")
    true_mask = binarize(truth, TRUTH_THRESHOLD)
    return {
        "dice": dice(mask, true_mask),
        "precision": precision(mask, true_mask),
        "recall": recall(mask, true_mask),
        "avd": avd(mask, true_mask),
        "rvd": rvd(mask, true_mask),
        "mse": mse(probability, truth),
        "mse_paper": mse_paper(mask, true_mask, slice_axis),
        "soft_dice": soft_dice(probability, truth),
        "volume_ml": volume_ml(mask, voxel_ml),
        "volume_truth_ml": volume_ml(true_mask, voxel_ml),
        "soft_volume_ml": volume_ml(probability, voxel_ml),
    }
