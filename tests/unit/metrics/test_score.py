"""The section `evaluate`: which masks its scores are of."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softseg.metrics.lesions import LesionRules, SmallObjects
from softseg.metrics.postprocess import Voxels
from softseg.metrics.score import Evaluate, Metrics, TrueTarget
from tests.support.lesions import masks, objects

VOXELS = Voxels((1.0, 1.0, 1.0), 1.0)
SOFT = ("mse", "soft_dice", "soft_volume_ml", "dV_soft_ml", "ece", "ace", "brier")


def scored(soft, truth, **rules):
    """The scores of a prediction at 0.5; voxels of 1 ml."""
    return Evaluate(**rules)(soft, 0.5, TrueTarget(truth, VOXELS)).scores


@pytest.fixture
def lesions():
    """A found lesion of 4 voxels, and a missed one of 2: (prediction, truth)."""
    truth = np.zeros((9, 5, 3), np.float32)
    truth[1:5, 1, 1], truth[7, 1:3, 1] = 0.9, 0.8
    soft = np.zeros_like(truth)
    soft[1:5, 1, 1] = 0.7
    return soft, truth


def test_a_missed_small_lesion_of_the_truth_counts_unless_it_is_removed(lesions):
    rules = {"lesions": LesionRules(minimum=0), "metrics": Metrics(surface_tolerance_mm=1)}
    kept = scored(*lesions, **rules)
    removed = scored(*lesions, **rules, remove_small_from_truth=SmallObjects())
    assert (kept["dice"], kept["recall"], kept["rvd"]) == pytest.approx((80, 200 / 3, 100 / 3))
    assert (removed["dice"], removed["recall"], removed["rvd"]) == (100, 100, 0)
    assert (removed["volume_truth_ml"], removed["dV_hard_ml"], removed["mse_paper"]) == (4, 0, 0)
    assert (kept["ltpr"], removed["ltpr"], removed["hd95_mm"]) == (50, 100, 0)
    assert {name: removed[name] for name in SOFT} == {name: kept[name] for name in SOFT}


def test_a_found_small_lesion_counts_as_false_if_the_truth_has_lost_it(lesions):
    _, truth = lesions
    kept, removed = (
        scored(truth, truth, remove_small_from_truth=rules) for rules in (None, SmallObjects())
    )
    assert (kept["precision"], removed["precision"]) == pytest.approx((100, 200 / 3))


@pytest.mark.parametrize(("unit", "minimum", "left"), [("voxels", 3, 4), ("mm3", 2001, 4)])
def test_the_size_has_a_unit(lesions, unit, minimum, left):
    rules = SmallObjects(minimum=minimum, unit=unit)
    assert scored(*lesions, remove_small_from_truth=rules)["volume_truth_ml"] == left
    rules = SmallObjects(minimum=2 if unit == "voxels" else 2000, unit=unit)
    assert scored(*lesions, remove_small_from_truth=rules)["volume_truth_ml"] == 6


def test_without_any_large_lesion_recall_is_undefined(lesions):
    soft, truth = lesions
    row = scored(soft, truth, remove_small_from_truth=SmallObjects(minimum=5))
    assert row["dice"] == 0
    assert math.isnan(row["recall"])


@settings(max_examples=50, deadline=None)
@given(masks(2), st.sampled_from([6, 18, 26]), st.integers(1, 4))
def test_the_truth_is_that_of_a_filter_of_sets_of_voxels(pair, connectivity, minimum):
    mask, truth = pair
    rules = SmallObjects(minimum=minimum, connectivity=connectivity)
    row = scored(mask.astype(np.float32), truth.astype(np.float32), remove_small_from_truth=rules)
    large = [one for one in objects(truth, connectivity) if len(one) >= minimum]
    left = set().union(*large)
    assert row["volume_truth_ml"] == len(left)
    both = sum(bool(mask[voxel]) for voxel in left)
    expected = 200 * both / (mask.sum() + len(left)) if mask.any() or left else math.nan
    assert row["dice"] == pytest.approx(expected, nan_ok=True)
