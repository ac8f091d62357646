"""Overlap, volume and soft error, which are always computed; volumes (X, Y, Z) on one grid."""

from __future__ import annotations

import numpy as np

from softseg.core.types import BoolArray, FloatArray


def score_overlap_and_volume(
    probability: FloatArray,
    truth: FloatArray,
    mask: BoolArray,
    true_mask: BoolArray,
    voxel_ml: float,
    slice_axis: int,
    ignore: BoolArray | None = None,
) -> dict[str, float]:
    """Compute overlap, volume and soft error: the columns that `metrics.csv` always has.

    All but `mse_paper` along `slice_axis` are of the volumes (X, Y, Z): `mse`, `soft_dice` and
    `soft_volume_ml` of the soft prediction and truth in [0, 1], the others of the binary
    prediction `mask` and of the binary truth `true_mask`. Percent, or milliliters where the name
    says so; NaN where a metric is not defined. `ignore` marks voxels that do not count; all four
    must be 0 there. Raises ValueError if the shapes differ.
    """
    if probability.shape != truth.shape:
        raise ValueError(f"prediction {probability.shape} and truth {truth.shape} differ in shape")
    return {
        "dice": dice(mask, true_mask),
        "precision": precision(mask, true_mask),
        "recall": recall(mask, true_mask),
        "avd": avd(mask, true_mask),
        "rvd": rvd(mask, true_mask),
        "mse": mse(probability, truth, ignore),
        "mse_paper": mse_paper(mask, true_mask, slice_axis, ignore),
        "soft_dice": soft_dice(probability, truth),
        "volume_ml": volume_ml(mask, voxel_ml),
        "volume_truth_ml": volume_ml(true_mask, voxel_ml),
        "soft_volume_ml": volume_ml(probability, voxel_ml),
    }


def dice(prediction: BoolArray, truth: BoolArray) -> float:
    """Return 2 |P and T| / (|P| + |T|), 0 to 100 %; NaN if both are empty (Dice 1945)."""
    both = count(prediction & truth)
    return percent(2 * both, count(prediction) + count(truth))


def precision(prediction: BoolArray, truth: BoolArray) -> float:
    """Return the percentage of the prediction that is true; NaN if it is empty."""
    return percent(count(prediction & truth), count(prediction))


def recall(prediction: BoolArray, truth: BoolArray) -> float:
    """Return the percentage of the truth that is predicted; NaN if the truth is empty."""
    return percent(count(prediction & truth), count(truth))


def specificity(prediction: BoolArray, truth: BoolArray, ignore: BoolArray | None = None) -> float:
    """Return the percentage of the truth's background that is predicted as such.

    It is near 100 % wherever a structure is small in its scan. Ignored voxels, where both are 0, do
    not count; NaN without background.
    """
    background = ~truth if ignore is None else ~truth & ~ignore
    return percent(count(background & ~prediction), count(background))


def soft_dice(probability: FloatArray, truth: FloatArray) -> float:
    """Return 2 sum(q y) / (sum(q) + sum(y)) of soft volumes, 0 to 100 %; NaN if both sum to 0.

    Not 100 % at q = y where y is soft: y = (1, 1, .5, 0) against itself scores 90 %.
    """
    overlap = 2 * np.sum(probability * truth, dtype=np.float64)
    return percent(overlap, np.sum(probability, dtype=np.float64) + np.sum(truth, dtype=np.float64))


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
    """Return the volume of a binary or soft mask: the sum of its voxels, each of `voxel_ml` ml."""
    return float(np.sum(mask, dtype=np.float64)) * voxel_ml


def mse(probability: FloatArray, truth: FloatArray, ignore: BoolArray | None = None) -> float:
    """Return the mean over voxels of the squared error of soft volumes, 0 to 100 %.

    The truth's own softness counts: this is the Brier score where the truth is 0 or 1. The mean is
    over the voxels that are not ignored; NaN if all are.
    """
    error = np.subtract(probability, truth, dtype=np.float64)
    if ignore is not None:
        error = error[~ignore]
    if not error.size:
        return float("nan")
    return 100.0 * float(np.mean(np.square(error)))


def mse_paper(
    prediction: BoolArray, truth: BoolArray, slice_axis: int = 2, ignore: BoolArray | None = None
) -> float:
    """Return the figure that Gros et al. 2020 call MSE, in percent, to compare with their tables.

    Of binary masks, the mean squared error within each slice, *summed* over the slices along
    `slice_axis`: it grows with the number of slices and may exceed 100. The mean of a slice is over
    its voxels that are not ignored; slices without one are left out.
    """
    if ignore is not None:
        in_plane = tuple(axis for axis in range(truth.ndim) if axis != slice_axis)
        wrong = np.count_nonzero((prediction ^ truth) & ~ignore, axis=in_plane)
        voxels = np.count_nonzero(~ignore, axis=in_plane)
        shares = wrong[voxels > 0] / voxels[voxels > 0]
        return 100.0 * float(shares.sum()) if shares.size else float("nan")
    return percent(count(prediction ^ truth), truth.size // truth.shape[slice_axis])


def count(mask: BoolArray) -> int:
    """Return the number of foreground voxels."""
    return int(np.count_nonzero(mask))


def percent(part: float, whole: float) -> float:
    """Return 100 part / whole; NaN if the whole is 0."""
    return 100.0 * float(part) / float(whole) if whole else float("nan")
