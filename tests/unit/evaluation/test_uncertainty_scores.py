"""Whether uncertainty lies where errors are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from softseg.evaluation.uncertainty_scores import (
    Sampled,
    disagreement,
    judge,
    rank_correlation,
    retained,
)
from softseg.metrics.calibration import region, score_calibration
from tests.support import makers

ALL = np.ones((10, 10, 1), bool)


def shaped(values):
    return np.asarray(values, dtype=float).reshape(10, 10, 1)


def test_uncertainty_of_all_that_is_wrong_is_ideal():
    wrong = shaped(np.arange(100) >= 90).astype(bool)
    found = retained(shaped(np.arange(100)), wrong, ALL)
    assert found.error == pytest.approx(found.ideal)
    # 90 of 100 are right: none wrong up to 90 %, 5 of 95, 10 of 100
    assert found.error == pytest.approx([0] * 18 + [500 / 95, 10])
    assert found.area == pytest.approx((500 / 95 + 10) / 20)


def test_uncertainty_that_tells_nothing_leaves_the_error_as_it_is():
    wrong = shaped(np.arange(100) >= 90).astype(bool)
    found = retained(shaped(np.zeros(100)), wrong, ALL)
    assert found.error == pytest.approx([10] * 20)
    backwards = retained(shaped(-np.arange(100)), wrong, ALL)
    assert backwards.error[:2] == pytest.approx([100, 100])


def test_voxels_that_are_equally_uncertain_share_their_errors():
    tied = shaped(np.arange(100) >= 20)
    wrong = shaped((np.arange(100) >= 15) & (np.arange(100) < 60)).astype(bool)
    found = retained(tied, wrong, ALL)  # 5 of the 20 more certain ones are wrong, 40 of 80
    assert found.error[:4] == pytest.approx([25] * 4)
    assert found.error[11] == pytest.approx(100 * (5 + 20) / 60)
    assert found.error[19] == pytest.approx(45)


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_the_order_of_voxels_changes_nothing(seed):
    draws = np.random.default_rng(seed)
    values, wrong, order = (
        draws.integers(0, 4, 100),
        draws.random(100) < 0.3,
        draws.permutation(100),
    )
    one = retained(shaped(values), shaped(wrong).astype(bool), ALL)
    other = retained(shaped(values[order]), shaped(wrong[order]).astype(bool), ALL)
    assert one.error == pytest.approx(other.error)


def test_rank_correlation_is_pearsons_of_ranks_within_the_roi():
    draws = np.random.default_rng(0)
    one, other = shaped(draws.integers(0, 9, 100)), shaped(draws.integers(0, 5, 100))
    roi = shaped(draws.random(100) < 0.6).astype(bool)
    expected = np.corrcoef(rankdata(one[roi]), rankdata(other[roi]))[0, 1]
    assert rank_correlation(one, other, roi) == pytest.approx(expected)
    assert np.isnan(rank_correlation(shaped(np.ones(100)), other, roi))
    assert np.isnan(rank_correlation(one, other, ~ALL))


def test_raters_disagree_most_where_half_of_them_draw():
    raters = {name: np.array([1.0, 0.0, float(name < "c"), float(name < "b")]) for name in "abcd"}
    assert disagreement(raters).tolist() == [0, 0, 0.25, 0.1875]


def test_a_prediction_is_judged_near_the_truth():
    truth = makers.ball((24, 24, 4))
    wrong_far = truth.copy()
    wrong_far[:3, :3, 0] = 1  # farther than 5 mm from the ball
    flat = np.zeros_like(truth)
    zooms = (1.0, 1.0, 1.0)
    found = Sampled(wrong_far, np.clip(truth - 0.2, 0, 1), flat, 1 - truth)
    raters = {"a": np.ones_like(truth), "b": truth}
    judged = judge(found, truth, raters, 0.5, zooms)
    roi = region(truth, zooms)
    assert judged.curves["entropy"].error == pytest.approx([0] * 20)
    assert judged.scores["dice_without"] < 100  # of the whole scan, as in metrics.csv
    assert judged.scores["ece_without"] == pytest.approx(0, abs=1e-6)
    expected = score_calibration(np.clip(truth - 0.2, 0, 1), truth, roi)
    assert judged.scores["ece_with"] == expected["ece"] > 0.01
    assert judged.scores["rank_mutualinfo"] == pytest.approx(1)  # variance (1 - truth)^2 / 4
    assert np.isnan(judged.scores["rank_entropy"])
    assert judged.bins["with"].count.sum() == roi.sum()


def test_without_truth_or_raters_there_is_nothing_to_compare_with():
    nothing = np.zeros((6, 6, 2), np.float32)
    judged = judge(Sampled(*[nothing] * 4), nothing, None, 0.5, (1.0, 1.0, 1.0))
    assert judged.curves == {}
    assert not [name for name in judged.scores if name.startswith(("rank", "retained"))]
    assert np.isnan(judged.scores["ece_with"])
