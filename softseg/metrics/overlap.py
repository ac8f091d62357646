"""Overlap of a prediction and a truth, in percent; volumes (X, Y, Z) on one grid."""

from __future__ import annotations

import numpy as np

from softseg.core.types import BoolArray, FloatArray


def dice(prediction: BoolArray, truth: BoolArray) -> float:
    """Return 2 |P and T| / (|P| + |T|), 0 to 100 %; NaN if both are empty (Dice 1945)."""
    both = count(prediction & truth)
    return percent(2 * both, count(prediction) + count(truth))


def precision(prediction: BoolArray, truth: BoolArray) -> float:
    """Return the share of the prediction that is true, 0 to 100 %; NaN if it is empty."""
    return percent(count(prediction & truth), count(prediction))


def recall(prediction: BoolArray, truth: BoolArray) -> float:
    """Return the share of the truth that is predicted, 0 to 100 %; NaN if the truth is empty."""
    return percent(count(prediction & truth), count(truth))


def soft_dice(probability: FloatArray, truth: FloatArray) -> float:
    """Return 2 sum(q y) / (sum(q) + sum(y)) of soft volumes, 0 to 100 %; NaN if both sum to 0.

    Not 100 % at q = y where y is soft: y = (1, 1, .5, 0) against itself scores 90 %.
    """
    overlap = 2 * np.sum(probability * truth, dtype=np.float64)
    return percent(overlap, np.sum(probability, dtype=np.float64) + np.sum(truth, dtype=np.float64))


def count(mask: BoolArray) -> int:
    """Return the number of foreground voxels."""
    return int(np.count_nonzero(mask))


def percent(part: float, whole: float) -> float:
    """Return 100 part / whole; NaN if the whole is 0."""
    return 100.0 * float(part) / float(whole) if whole else float("nan")
