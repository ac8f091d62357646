from __future__ import annotations

import io
import math
from functools import reduce
from operator import add

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from softseg.core.errors import UserError
from softseg.metrics.calibration import (
    ReliabilityBins,
    ace,
    bins_from_table,
    bins_to_table,
    ece,
    region,
    reliability,
    score_calibration,
)

FRACTIONS = st.floats(0, 1, width=32)
ROUND = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])  # on the edges of bins, and tied
SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=4)
FEW = settings(max_examples=40, deadline=None)
MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7))


@st.composite
def volumes(draw, values=FRACTIONS | ROUND):
    """q, y and a ROI that may be empty."""
    shape = draw(SHAPES)
    q, y = (draw(hnp.arrays(np.float32, shape, elements=values)) for _ in range(2))
    return q, y, draw(hnp.arrays(bool, shape))


def line(*values):
    return np.array(values, np.float32).reshape(-1, 1, 1)


def everywhere(q):
    return np.ones(q.shape, bool)


def plain_ece(q, y, bins):
    """Voxel by voxel, each in the bin between edges of float32."""
    errors = {}
    for predicted, true in zip(q.tolist(), y.tolist(), strict=True):
        k = max(k for k in range(bins) if predicted >= np.float32(k / bins))
        errors.setdefault(k, []).append(true - predicted)
    return sum(abs(math.fsum(each)) for each in errors.values()) / len(q)


Q, Y = line(0.05, 0.15, 0.35, 0.65, 0.85, 0.95), line(0, 0, 1, 1, 1, 1)


def test_published_figures_of_six_voxels():
    result = score_calibration(Q, Y, everywhere(Q), bins=10)
    assert result["ece"] == pytest.approx(0.233333, abs=1e-6)
    assert result["brier"] == pytest.approx(0.0991667, abs=1e-6)
    # one voxel a bin, all bins weighing the same: the mean of |y - q|
    assert result["ace"] == pytest.approx(0.233333, abs=1e-6)
    assert ace(Q.ravel(), Y.ravel(), bins=2) == pytest.approx((0.45 / 3 + 0.55 / 3) / 2, abs=1e-6)


@FEW
@given(volumes(), st.integers(1, 12))
def test_ece_equals_a_sum_voxel_by_voxel(volume, bins):
    q, y, roi = volume
    result = ece(reliability(*volume, bins))
    if not roi.any():
        assert math.isnan(result)
    else:
        assert result == pytest.approx(plain_ece(q[roi], y[roi], bins), abs=1e-9)
        assert 0 <= result <= 1


@FEW
@given(volumes(), st.integers(1, 12))
def test_ace_without_ties_is_the_mean_over_parts_of_the_sorted_voxels(volume, bins):
    q, y, roi = volume
    values, first = np.unique(q[roi], return_index=True)
    y = y[roi][first].astype(np.float64)
    result = ace(values.astype(np.float64), y, bins)
    parts = zip(*(np.array_split(side, bins) for side in (values.astype(float), y)), strict=True)
    gaps = [abs(a.mean() - b.mean()) for a, b in parts if a.size]
    assert result == pytest.approx(np.mean(gaps) if gaps else math.nan, abs=1e-9, nan_ok=True)


@FEW
@given(volumes(ROUND), st.integers(1, 12), st.randoms(use_true_random=False))
def test_ace_does_not_depend_on_the_order_of_equal_predictions(volume, bins, random):
    q, y, _ = volume
    order = list(range(q.size))
    random.shuffle(order)
    q, y = (side.ravel().astype(np.float64) for side in (q, y))
    before = ace(q, y, bins)
    assert ace(q[order], y[order], bins) == pytest.approx(before, abs=1e-9)


def test_tied_voxels_in_two_bins_have_their_mean_truth_in_both():
    q, y = np.full(4, 0.5), np.array([0.0, 0.0, 1.0, 1.0])
    # in either order of the file one bin would be all wrong and the other all right
    assert ace(q, y, bins=2) == 0


@FEW
@given(volumes(), st.integers(1, 12))
def test_a_perfect_prediction_has_no_error(volume, bins):
    q, _, roi = volume
    if roi.any():
        assert score_calibration(q, q, roi, bins) == {"ece": 0, "ace": 0, "brier": 0}


@FEW
@given(volumes(), st.integers(1, 12))
def test_all_errors_are_within_0_and_1(volume, bins):
    if volume[2].any():
        result = score_calibration(*volume, bins)
        assert all(0 <= value <= 1 for value in result.values())


def test_a_prediction_that_is_right_only_on_average_has_a_brier_score_only():
    q, y = line(*[0.5] * 6), line(0, 1, 0, 1, 1, 0)
    result = score_calibration(q, y, everywhere(q))
    assert result == pytest.approx({"ece": 0, "ace": 0, "brier": 0.25})


@FEW
@given(st.lists(volumes(), min_size=1, max_size=4))
def test_bins_of_several_volumes_add_up(many):
    result = reduce(add, (reliability(*volume) for volume in many))
    q, y = (np.concatenate([v[k][v[2]] for v in many]).reshape(-1, 1, 1) for k in (0, 1))
    together = reliability(q, y, everywhere(q))
    np.testing.assert_array_equal(result.count, together.count)
    np.testing.assert_allclose(result.predicted, together.predicted, atol=1e-9)
    np.testing.assert_allclose(result.true, together.true, atol=1e-9)


def test_a_value_rounded_to_float32_is_in_the_bin_of_its_decimal():
    exact = np.array([k / 10 for k in range(11)]).reshape(-1, 1, 1)
    for edges in (exact, exact.astype(np.float32)):
        result = reliability(edges, edges, everywhere(edges))
        assert result.count.tolist() == [1] * 9 + [2]


def test_brier_counts_the_voxels_of_the_region_only():
    roi = line(1, 1, 0) > 0
    result = score_calibration(line(0.5, 1, 1), line(0, 1, 0), roi)
    assert result["brier"] == pytest.approx(0.125)


def test_without_a_truth_there_is_no_region_and_no_error():
    empty = np.zeros((4, 5, 6), np.float32)
    roi = region(empty, (1, 1, 1))
    assert not roi.any()
    result = score_calibration(empty + 0.5, empty, roi)
    assert all(math.isnan(value) for value in result.values())


@FEW
@given(MASKS, st.tuples(*[st.sampled_from([0.3, 0.7, 1.0, 2.5])] * 3), st.sampled_from([0, 1, 2.1]))
def test_the_region_is_within_the_margin_in_mm(mask, zooms, margin):
    result = region(mask.astype(np.float32) * 0.01, zooms, margin)
    at = np.argwhere(np.ones(mask.shape, bool))
    distances = cdist(at * zooms, np.argwhere(mask) * zooms) if mask.any() else np.full((1, 1), 99)
    expected = np.broadcast_to(distances.min(axis=1) <= margin + 1e-9, len(at))
    np.testing.assert_array_equal(result.ravel(), expected)


def test_the_region_includes_the_next_slice_of_5_mm_with_a_rounded_zoom():
    truth = np.zeros((1, 1, 3), np.float32)
    truth[0, 0, 0] = 1
    assert region(truth, (1, 1, 5.0000005)).ravel().tolist() == [True, True, False]


def test_bins_survive_their_table_and_a_damaged_table_is_rejected():
    bins = reliability(Q, Y, everywhere(Q))
    text = bins_to_table(bins).to_csv(index=False)
    back = bins_from_table(pd.read_csv(io.StringIO(text)), "r.csv")
    np.testing.assert_array_equal(back.count, bins.count)
    np.testing.assert_allclose([back.predicted, back.true], [bins.predicted, bins.true])
    assert bins_to_table(bins)["low"].tolist() == pytest.approx([k / 10 for k in range(10)])
    for wrong in (text.replace("voxels", "boxes"), text.split("\n")[0], text[:-20]):
        with pytest.raises(UserError, match=r"r\.csv is damaged"):
            bins_from_table(pd.read_csv(io.StringIO(wrong)), "r.csv")


def test_arguments_of_different_shapes_are_rejected():
    with pytest.raises(ValueError, match="differ in shape"):
        reliability(Q, Y[:3], everywhere(Q))
    with pytest.raises(ValueError, match="10 and 5 bins"):
        reliability(Q, Y, everywhere(Q)) + reliability(Q, Y, everywhere(Q), 5)
    assert math.isnan(ece(ReliabilityBins(np.zeros(3, np.int64), *np.zeros((2, 3)))))


def test_traces_of_truth_do_not_widen_the_region():
    """STAPLE's probability is above 0 far from all raters' masks."""
    truth = np.full((9, 9, 3), 0.009, np.float32)
    assert not region(truth, (1, 1, 1)).any()
    truth[4, 4, 1] = 0.01
    assert (
        region(truth, (1, 1, 1), 2.0).sum() == region(truth * (truth > 0.009), (1, 1, 1), 2).sum()
    )
    assert region(truth, (1, 1, 1), 2.0).any()
