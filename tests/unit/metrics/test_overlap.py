from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from softseg.metrics import binarize
from softseg.metrics.overlap import (
    avd,
    dice,
    mse,
    mse_paper,
    precision,
    recall,
    rvd,
    score_overlap_and_volume,
    soft_dice,
    volume_ml,
)

SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=4)
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(*[hnp.arrays(bool, shape)] * 2))
FRACTIONS = st.floats(0, 1, width=32)
SOFT_PAIRS = SHAPES.flatmap(
    lambda shape: st.tuples(*[hnp.arrays(np.float32, shape, elements=FRACTIONS)] * 2)
)
COLUMNS = [
    "dice",
    "precision",
    "recall",
    "avd",
    "rvd",
    "mse",
    "mse_paper",
    "soft_dice",
    "volume_ml",
    "volume_truth_ml",
    "soft_volume_ml",
]


def share(part, whole):
    return 100 * part / whole if whole else math.nan


@given(PAIRS)
def test_metrics_equal_counts_of_sets_of_voxels(pair):
    predicted, true = ({tuple(v) for v in np.argwhere(mask)} for mask in pair)
    both = len(predicted & true)
    expected = {
        dice: share(2 * both, len(predicted) + len(true)),
        precision: share(both, len(predicted)),
        recall: share(both, len(true)),
    }
    for metric, value in expected.items():
        assert metric(*pair) == pytest.approx(value, nan_ok=True)


@given(PAIRS)
def test_on_binary_volumes_soft_dice_is_dice(pair):
    soft = soft_dice(*(mask.astype(np.float32) for mask in pair))
    assert soft == pytest.approx(dice(*pair), nan_ok=True)


def test_soft_dice_of_a_soft_volume_with_itself():
    soft = np.array([1, 1, 0.5, 0], dtype=np.float32).reshape(1, 2, 2)
    assert soft_dice(soft, soft) == pytest.approx(90)


def test_soft_dice_adds_up_large_float32_volumes_exactly():
    soft = np.full((160, 224, 182), 0.1, dtype=np.float32)
    assert soft_dice(soft, np.ones_like(soft)) == pytest.approx(20 / 1.1, rel=1e-6)


def test_recall_needs_a_truth_and_precision_a_prediction():
    empty, full = np.zeros((2, 2, 2), bool), np.ones((2, 2, 2), bool)
    assert math.isnan(recall(full, empty))
    assert precision(full, empty) == 0
    assert math.isnan(precision(empty, full))
    assert recall(empty, full) == 0
    assert dice(empty, full) == 0
    assert math.isnan(dice(empty, empty))


def mask(foreground):
    volume = np.zeros((4, 4, 4), bool)
    volume.reshape(-1)[:foreground] = True
    return volume


def test_over_segmentation_is_negative():
    assert rvd(mask(12), mask(10)) == pytest.approx(-20)
    assert rvd(mask(8), mask(10)) == pytest.approx(20)
    assert avd(mask(12), mask(10)) == avd(mask(8), mask(10)) == pytest.approx(20)


def test_the_relative_volume_of_an_empty_truth_is_nan():
    assert math.isnan(rvd(mask(3), mask(0)))
    assert math.isnan(avd(mask(3), mask(0)))
    assert rvd(mask(0), mask(3)) == 100


@given(PAIRS)
def test_relative_volume_equals_counts_of_sets_of_voxels(pair):
    predicted, true = ({tuple(v) for v in np.argwhere(volume)} for volume in pair)
    expected = 100 * (len(true) - len(predicted)) / len(true) if true else math.nan
    assert rvd(*pair) == pytest.approx(expected, nan_ok=True)


@given(SOFT_PAIRS)
def test_mse_is_the_voxel_mean(pair):
    errors = [(float(q) - float(y)) ** 2 for q, y in zip(*(v.flat for v in pair), strict=True)]
    assert mse(*pair) == pytest.approx(100 * sum(errors) / len(errors), abs=1e-9)


def test_the_papers_mse_sums_over_slices():
    """A figure measured on the published implementation: 158 wrong voxels of 128x128x12."""
    prediction, truth = np.zeros((128, 128, 12), bool), np.zeros((128, 128, 12), bool)
    prediction.reshape(-1)[:100] = True
    truth.reshape(-1)[-58:] = True
    assert mse_paper(prediction, truth) / 100 == pytest.approx(0.00964, abs=5e-6)


@given(PAIRS, st.integers(0, 2))
def test_the_papers_mse_equals_the_sum_over_its_slices(pair, axis):
    planes = zip(*(np.moveaxis(volume, axis, 0) for volume in pair), strict=True)
    expected = sum(100 * np.mean(one != other) for one, other in planes)
    assert mse_paper(*pair, slice_axis=axis) == pytest.approx(expected)


def test_volume_in_milliliters():
    assert volume_ml(mask(10), 0.002) == pytest.approx(0.02)
    half = np.full((2, 2, 2), 0.5, np.float32)
    assert volume_ml(half, 0.25) == pytest.approx(1)


@given(st.integers(1, 19))
def test_a_probability_at_the_threshold_is_foreground(step):
    threshold = step / 20
    at = np.array([threshold], dtype=np.float32)
    assert binarize(at, threshold).tolist() == [True]
    assert binarize(at.astype(np.float64), threshold).tolist() == [True]
    assert binarize(np.nextafter(at, np.float32(0)), threshold).tolist() == [False]


def test_scores_computed_by_hand():
    probability = np.array([0.9, 0.6, 0.3, 0.0], np.float32).reshape(2, 1, 2)
    truth = np.array([1.0, 0.5, 0.4, 0.2], np.float32).reshape(2, 1, 2)
    mask, true_mask = binarize(probability, 0.3), binarize(truth, 0.5)
    row = score_overlap_and_volume(probability, truth, mask, true_mask, voxel_ml=0.5, slice_axis=2)
    expected = {
        "dice": 80,
        "precision": 200 / 3,
        "recall": 100,
        "avd": 50,
        "rvd": -50,
        "mse": 100 * (0.01 + 0.01 + 0.01 + 0.04) / 4,
        "mse_paper": 50,
        "soft_dice": 100 * 2 * (0.9 + 0.3 + 0.12) / (1.8 + 2.1),
        "volume_ml": 1.5,
        "volume_truth_ml": 1.0,
        "soft_volume_ml": 0.9,
    }
    assert list(row) == COLUMNS
    assert row == pytest.approx(expected, rel=1e-6)
    assert all(type(value) is float for value in row.values())


def test_a_perfect_binary_prediction():
    truth = np.zeros((3, 3, 3), np.float32)
    truth[1, 1, 1:] = 1
    row = score_overlap_and_volume(truth, truth, *[truth >= 0.5] * 2, voxel_ml=1.0, slice_axis=2)
    assert (row["dice"], row["soft_dice"], row["mse"], row["mse_paper"]) == (100, 100, 0, 0)
    assert (row["avd"], row["rvd"]) == (0, 0)


def test_an_empty_prediction_of_an_empty_truth_has_undefined_ratios_but_a_volume():
    empty = np.zeros((2, 2, 2), np.float32)
    row = score_overlap_and_volume(empty, empty, *[empty > 0] * 2, voxel_ml=1.0, slice_axis=2)
    undefined = {name for name, value in row.items() if math.isnan(value)}
    assert undefined == {"dice", "precision", "recall", "avd", "rvd", "soft_dice"}


def test_volumes_of_different_grids_are_rejected():
    with pytest.raises(ValueError, match="differ in shape"):
        score_overlap_and_volume(
            np.zeros((2, 2, 2)),
            np.zeros((2, 2, 1)),
            np.zeros((2, 2, 2), bool),
            np.zeros((2, 2, 1), bool),
            voxel_ml=1.0,
            slice_axis=2,
        )
