from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softseg.metrics import binarize
from softseg.metrics.overlap import score_overlap_and_volume

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
    row = score_overlap_and_volume(
        probability, truth, binarize(probability, 0.3), voxel_ml=0.5, slice_axis=2
    )
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
    row = score_overlap_and_volume(truth, truth, truth >= 0.5, voxel_ml=1.0, slice_axis=2)
    assert (row["dice"], row["soft_dice"], row["mse"], row["mse_paper"]) == (100, 100, 0, 0)
    assert (row["avd"], row["rvd"]) == (0, 0)


def test_an_empty_prediction_of_an_empty_truth_has_undefined_ratios_but_a_volume():
    empty = np.zeros((2, 2, 2), np.float32)
    row = score_overlap_and_volume(empty, empty, empty > 0, voxel_ml=1.0, slice_axis=2)
    undefined = {name for name, value in row.items() if math.isnan(value)}
    assert undefined == {"dice", "precision", "recall", "avd", "rvd", "soft_dice"}


def test_volumes_of_different_grids_are_rejected():
    with pytest.raises(ValueError, match="differ in shape"):
        score_overlap_and_volume(
            np.zeros((2, 2, 2)),
            np.zeros((2, 2, 1)),
            np.zeros((2, 2, 2), bool),
            voxel_ml=1.0,
            slice_axis=2,
        )
