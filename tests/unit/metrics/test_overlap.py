from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from softseg.metrics.overlap import dice, precision, recall, soft_dice

SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=4)
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(*[hnp.arrays(bool, shape)] * 2))


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
