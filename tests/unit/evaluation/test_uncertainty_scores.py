"""Scores of how well uncertainty marks errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from softseg.evaluation.uncertainty_scores import (
    SampledTarget,
    rank_correlation,
    rater_variance,
    retention_curve,
    score_uncertainty,
)
from softseg.metrics.calibration import region, score_calibration
from tests.support import makers

ALL = np.ones((10, 10, 1), bool)


def shaped(values):
    return np.asarray(values, dtype=float).reshape(10, 10, 1)


def test_uncertainty_that_ranks_all_wrong_voxels_highest_is_ideal():
    wrong = shaped(np.arange(100) >= 90).astype(bool)
    curve = retention_curve(shaped(np.arange(100)), wrong, ALL)
    assert curve.error == pytest.approx(curve.ideal)
    # 90 of 100 are right: none wrong up to 90 %, 5 of 95, 10 of 100
    assert curve.error == pytest.approx([0] * 18 + [500 / 95, 10])
    assert curve.area == pytest.approx((500 / 95 + 10) / 20)


def test_constant_uncertainty_leaves_the_error_unchanged():
    wrong = shaped(np.arange(100) >= 90).astype(bool)
    curve = retention_curve(shaped(np.zeros(100)), wrong, ALL)
    assert curve.error == pytest.approx([10] * 20)
    backwards = retention_curve(shaped(-np.arange(100)), wrong, ALL)
    assert backwards.error[:2] == pytest.approx([100, 100])


def test_voxels_that_are_equally_uncertain_share_their_errors():
    tied = shaped(np.arange(100) >= 20)
    wrong = shaped((np.arange(100) >= 15) & (np.arange(100) < 60)).astype(bool)
    curve = retention_curve(tied, wrong, ALL)  # 5 of the 20 more certain ones are wrong, 40 of 80
    assert curve.error[:4] == pytest.approx([25] * 4)
    assert curve.error[11] == pytest.approx(100 * (5 + 20) / 60)
    assert curve.error[19] == pytest.approx(45)


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_the_order_of_voxels_changes_nothing(seed):
    draws = np.random.default_rng(seed)
    values, wrong, order = (
        draws.integers(0, 4, 100),
        draws.random(100) < 0.3,
        draws.permutation(100),
    )
    first = retention_curve(shaped(values), shaped(wrong).astype(bool), ALL)
    second = retention_curve(shaped(values[order]), shaped(wrong[order]).astype(bool), ALL)
    assert first.error == pytest.approx(second.error)


def test_rank_correlation_is_the_correlation_of_ranks_within_the_roi():
    draws = np.random.default_rng(0)
    one, other = shaped(draws.integers(0, 9, 100)), shaped(draws.integers(0, 5, 100))
    roi = shaped(draws.random(100) < 0.6).astype(bool)
    expected = np.corrcoef(rankdata(one[roi]), rankdata(other[roi]))[0, 1]
    assert rank_correlation(one, other, roi) == pytest.approx(expected)
    assert np.isnan(rank_correlation(shaped(np.ones(100)), other, roi))
    assert np.isnan(rank_correlation(one, other, ~ALL))


def test_raters_disagree_most_where_half_of_them_mark_a_voxel():
    raters = {name: np.array([1.0, 0.0, float(name < "c"), float(name < "b")]) for name in "abcd"}
    assert rater_variance(raters).tolist() == [0, 0, 0.25, 0.1875]


def test_a_prediction_is_scored_near_the_truth():
    truth = makers.ball((24, 24, 4))
    wrong_far = truth.copy()
    wrong_far[:3, :3, 0] = 1  # farther than 5 mm from the ball
    flat = np.zeros_like(truth)
    zooms = (1.0, 1.0, 1.0)
    prediction = SampledTarget(wrong_far, np.clip(truth - 0.2, 0, 1), flat, 1 - truth)
    raters = {"a": np.ones_like(truth), "b": truth}
    scored = score_uncertainty(prediction, truth, raters, 0.5, zooms)
    roi = region(truth, zooms)
    assert scored.curves["entropy"].error == pytest.approx([0] * 20)
    assert scored.scores["dice_without"] < 100  # over the whole scan, as in metrics.csv
    assert scored.scores["ece_without"] == pytest.approx(0, abs=1e-6)
    expected = score_calibration(np.clip(truth - 0.2, 0, 1), truth, roi)
    assert scored.scores["ece_with"] == expected["ece"] > 0.01
    assert scored.scores["rank_mutualinfo"] == pytest.approx(1)  # variance (1 - truth)^2 / 4
    assert np.isnan(scored.scores["rank_entropy"])
    assert scored.bins["with"].count.sum() == roi.sum()


def test_without_truth_or_raters_there_is_nothing_to_compare_with():
    empty = np.zeros((6, 6, 2), np.float32)
    scored = score_uncertainty(SampledTarget(*[empty] * 4), empty, None, 0.5, (1.0, 1.0, 1.0))
    assert scored.curves == {}
    assert not [name for name in scored.scores if name.startswith(("rank", "retained"))]
    assert np.isnan(scored.scores["ece_with"])
