"""Volumes and voxel errors of a prediction against a truth; volumes (X, Y, Z) on one grid."""

from __future__ import annotations

import numpy as np

from softseg.core.types import BoolArray, FloatArray
from softseg.metrics.overlap import count, percent


def rvd(prediction: BoolArray, truth: BoolArray) -> float:
    """Return the relative volume difference (V_truth - V_prediction) / V_truth, in percent.

    Sign as in the tables of Gros et al. 2020: **negative is over-segmentation**. At most 100,
    without a lower bound; NaN if the truth is empty.
    """
    true = count(truth)
    return percent(true - count(prediction), true)


def avd(prediction: BoolArray, truth: BoolArray) -> float:
    """Return the absolute volume difference |rvd|, in percent; NaN if the truth is empty."""
    return abs(rvd(prediction, truth))


def volume_ml(mask: BoolArray | FloatArray, voxel_ml: float) -> float:
    """Return the volume of a binary or soft mask in milliliters: the sum of its voxels.

    Args:
        mask: (X, Y, Z), values in [0, 1].
        voxel_ml: volume of one voxel in milliliters.
    """
    return float(np.sum(mask, dtype=np.float64)) * voxel_ml


def mse(probability: FloatArray, truth: FloatArray) -> float:
    """Return the mean over voxels of the squared error of soft volumes, 0 to 100 %.

    The truth's own softness counts: this is the Brier score where the truth is 0 or 1.
    """
    error = np.subtract(probability, truth, dtype=np.float64)
    return 100.0 * float(np.mean(np.square(error)))


def mse_paper(prediction: BoolArray, truth: BoolArray, slice_axis: int = 2) -> float:
    """Return the figure that Gros et al. 2020 call MSE, in percent, to compare with their tables.

    Of binary masks, the mean squared error within each slice, *summed* over the slices along
    `slice_axis`: it grows with the number of slices and may exceed 100.
    """
    return percent(count(prediction ^ truth), truth.size // truth.shape[slice_axis])
