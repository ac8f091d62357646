"""The threshold search gives what counting voxels threshold by threshold gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from softseg.evaluation.threshold_search import THRESHOLDS, best_threshold, dice_curve

soft = arrays(
    np.float32, (4, 3, 2), elements=st.sampled_from([0, 0.05, 0.1, 0.3, 0.5, 0.549, 0.55, 0.95, 1])
)


def plain_dice(predicted, truth):
    size = predicted.sum() + truth.sum()
    return 200 * (predicted & truth).sum() / size if size else np.nan


@settings(max_examples=60, deadline=None)
@given(probability=soft, truth=soft)
def test_the_curve_is_dice_at_each_threshold(probability, truth):
    expected = [plain_dice(probability >= np.float32(t), truth >= 0.5) for t in THRESHOLDS]
    np.testing.assert_allclose(dice_curve(probability, truth), expected)


def test_thresholds_are_the_papers():
    assert tuple(round(0.05 * k, 2) for k in range(1, 20)) == THRESHOLDS


def test_of_equal_thresholds_the_largest_is_taken():
    truth = np.zeros((4, 4, 1), np.float32)
    truth[1:3, 1:3] = 1
    found = best_threshold([dice_curve(truth * np.float32(0.6), truth)])
    assert found.value == 0.6
    assert found.dice == pytest.approx(100)
    assert found.curve["0.65"] == 0


def test_the_mean_is_over_volumes_not_voxels():
    big, small = np.ones((10, 10, 1), np.float32), np.zeros((10, 10, 1), np.float32)
    small[0, 0] = 1
    curves = [dice_curve(big * np.float32(0.9), big), dice_curve(small * np.float32(0.2), small)]
    found = best_threshold(curves)
    assert found.value == 0.2
    assert found.curve["0.90"] == pytest.approx(50)


def test_a_volume_with_nothing_in_it_counts_only_where_something_was_found():
    empty = np.zeros((3, 3, 1), np.float32)
    curve = dice_curve(empty + np.float32(0.3), empty)
    assert (curve[:6] == 0).all()
    assert np.isnan(curve[6:]).all()
    full = np.ones((3, 3, 1), np.float32)
    assert best_threshold([curve, dice_curve(full, full)]).curve["0.50"] == pytest.approx(100)
