"""Agreement of a prediction with raters, against sums written out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from softseg.metrics.agreement import agreement, energy_distance

MASK = arrays(bool, (3, 3, 2))


def iou_distance(one, other):
    union = (one | other).sum()
    return 1 - (one & other).sum() / union if union else 0.0


def mask(*voxels):
    made = np.zeros((2, 2, 2), bool)
    made.flat[list(voxels)] = True
    return made


def test_dice_with_each_rater_and_between_them():
    scores = agreement(mask(0, 1), {"a": mask(0, 1), "b": mask(1, 2), "c": mask(0, 1, 2, 3)})
    assert scores["dice_rater_a"] == 100
    assert scores["dice_rater_b"] == 50
    assert scores["dice_rater_c"] == pytest.approx(200 / 3)
    assert scores["dice_raters"] == pytest.approx((100 + 50 + 200 / 3) / 3)
    # a-b 50, a-c 66.7, b-c 66.7
    assert scores["dice_between_raters"] == pytest.approx((50 + 400 / 3) / 3)


@given(MASK, st.lists(MASK, min_size=1, max_size=5))
def test_the_energy_distance_is_its_definition(prediction, raters):
    """Over all ordered pairs, including a rater with herself."""
    to_raters = np.mean([iou_distance(prediction, rater) for rater in raters])
    between = np.mean([iou_distance(a, b) for a, b in itertools.product(raters, raters)])
    assert energy_distance(prediction, raters) == pytest.approx(2 * to_raters - between)
    assert energy_distance(prediction, raters) >= -1e-12


def test_the_energy_distance_is_0_if_all_agree_and_larger_if_raters_differ():
    first, second = mask(0, 1), mask(6, 7)
    assert energy_distance(first, [first, first]) == 0
    assert energy_distance(first, [second, second]) == 2
    # between two raters without a common voxel, the mask of one is the best prediction
    assert energy_distance(first, [first, second]) == pytest.approx(0.5)


def test_the_energy_distance_prefers_the_middle_rater_to_an_outlier():
    raters = [mask(0, 1, 2), mask(0, 1), mask(0, 1, 2, 3)]
    assert energy_distance(mask(0, 1, 2), raters) < energy_distance(mask(7), raters)


def test_empty_masks_have_no_dice_and_an_iou_of_one():
    empty = mask()
    scores = agreement(empty, {"a": empty, "b": mask(0)})
    assert math.isnan(scores["dice_rater_a"])
    assert scores["dice_rater_b"] == 0
    assert scores["dice_raters"] == 0
    assert energy_distance(empty, [empty, empty]) == 0


def test_a_single_rater_has_no_dice_between_raters():
    scores = agreement(mask(0), {"": mask(0)})
    assert math.isnan(scores["dice_between_raters"])
    assert scores["ged"] == 0
