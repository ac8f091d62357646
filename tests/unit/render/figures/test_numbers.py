"""The numbers behind the figures: agreement, density, medians, epochs, best thresholds."""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from softseg.render.figures import learning, scores, softness
from softseg.render.figures.predictions import box_of, select_epochs
from softseg.render.figures.volumes import agreement, means_and_differences
from tests.support.figure_data import SOFT, beta, example

NAN = float("nan")
AT = np.linspace(0, 1, 2001)
# Bland and Altman 1986, table 1: peak flow [l/min] of 17 subjects, large and mini meter
LARGE = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
RUNS = [{0.1: 70.0, 0.3: 90.0, 0.5: 80.0}, {0.1: 60.0, 0.3: 70.0, 0.5: 76.0}]


def test_bias_and_limits_are_those_of_bland_and_altman():
    _, difference = means_and_differences(np.array(LARGE), np.array(MINI))
    limits = agreement(difference)
    # they print -2.1, SD 38.8, and with 2 SD for 1.96 limits of -79.7 and 75.5
    assert limits.bias == pytest.approx(-2.1, abs=0.05)
    assert limits.high - limits.bias == pytest.approx(1.96 * 38.8, abs=0.1)
    assert limits.bias - limits.low == pytest.approx(limits.high - limits.bias)


def test_the_difference_is_predicted_minus_true_over_their_mean():
    predicted, true = np.array([3.0, 1.0, NAN, 9.0]), np.array([1.0, 2.0, 5.0, NAN])
    mean, difference = means_and_differences(predicted, true)
    assert mean.tolist() == [2, 1.5]
    assert difference.tolist() == [2, -1]


def test_the_limits_use_the_sample_deviation_and_are_undefined_for_one_subject():
    values = [0.1, 0.5, -0.2]
    limits = agreement(np.array(values))
    assert limits.high == pytest.approx(statistics.mean(values) + 1.96 * statistics.stdev(values))
    single = agreement(np.array([0.5]))
    assert single.bias == 0.5
    assert np.isnan([single.low, single.high]).all()
    assert np.isnan(agreement(np.array([])).bias)


@pytest.mark.parametrize("values", [beta(2, 5), beta(0.3, 0.3), beta(1, 1), beta(80, 0.5)])
def test_the_density_has_an_area_of_one_within_zero_and_one(values):
    heights = softness.density(values, AT)
    assert np.trapezoid(heights, AT) == pytest.approx(1, abs=0.01)


def test_the_density_is_that_of_the_distribution_of_the_values():
    heights = softness.density(beta(3, 4), AT)
    np.testing.assert_allclose(heights, stats.beta(3, 4).pdf(AT), atol=0.12)
    # even at both ends, where a kernel without a mirror would show half of it
    np.testing.assert_allclose(softness.density(beta(1, 1), AT), 1, atol=0.06)


def test_a_nearly_binary_prediction_has_a_spike_of_bounded_height():
    heights = softness.density(np.array([0.999, 1.0] * 500), AT)
    assert 30 < heights.max() < 2 / softness.NARROWEST


def test_a_single_value_has_no_density():
    assert softness.density(np.ones(50), AT) is None
    assert softness.density(np.array([0.3]), AT) is None
    assert softness.density(np.array([]), AT) is None
    assert softness.density(np.array([1, 1 - 1e-16, 1e-300 + 1]), AT) is None


def test_the_enlarged_box_holds_every_candidates_mask():
    narrow = example(["a", "b"])
    far = np.zeros((40, 30), dtype=bool)
    far[39, 29] = True
    wide = replace(narrow, binary={**narrow.binary, "b": far})
    assert box_of(narrow).side == pytest.approx(12)  # 30 % of 40 mm
    assert box_of(wide).side == pytest.approx(40)  # 30 mm and margins


def test_the_median_ends_where_less_than_half_of_the_runs_are_left():
    lengths = {9: 1.0, 4: 2.0, 3: 9.0, 2: 4.0}
    runs = [pd.Series([value] * n, index=range(1, n + 1)) for n, value in lengths.items()]
    assert learning.median(runs).to_dict() == {1: 3.0, 2: 3.0, 3: 2.0, 4: 1.5}


def test_the_axis_of_losses_is_logarithmic_only_where_that_reads_better():
    assert learning.needs_log(pd.Series([0.1, 1.1]))
    assert not learning.needs_log(pd.Series([0.1, 0.9]))
    assert not learning.needs_log(pd.Series([-1.0, 100.0]))
    assert not learning.needs_log(pd.Series([0.0, 100.0]))
    assert not learning.needs_log(pd.Series([], dtype=float))


def rows(*epochs):
    return [dict.fromkeys(of_row, SOFT) for of_row in epochs]


def test_all_epochs_are_shown_if_they_are_few():
    assert select_epochs(rows([1, 2, 5], [1, 3])) == [1, 2]
    assert select_epochs(rows([1, 3, 9], [1, 3, 7, 12])) == [1, 3, 7]
    assert select_epochs(rows([4])) == []
    assert select_epochs(rows([])) == []


def test_many_epochs_are_thinned_evenly():
    assert select_epochs(rows(range(1, 13))) == [1, 3, 5, 7, 9, 11]


@given(st.lists(st.sets(st.integers(1, 300), max_size=80), max_size=4))
def test_the_first_and_the_latest_epochs_are_among_at_most_six(epochs):
    selected = select_epochs(rows(*epochs))
    not_last = sorted({epoch for of_row in epochs for epoch in of_row if epoch != max(of_row)})
    assert selected == sorted(set(selected))
    assert set(selected) <= set(not_last)
    assert len(selected) == min(6, len(not_last))
    assert selected[:1] == not_last[:1]
    assert selected[-1:] == not_last[-1:]


def test_dots_are_spread_in_the_same_way_every_time():
    offsets = scores.spread(40)
    assert np.abs(offsets).max() < 0.5
    assert np.diff(np.sort(offsets)).min() > 0.005
    np.testing.assert_array_equal(offsets[:7], scores.spread(7))


def test_the_best_threshold_of_equals_is_the_largest():
    assert softness.best_threshold({0.5: 80.0, 0.7: 80.0, 0.6: 80.0, 0.1: 3.0}) == (0.7, 80.0)
    assert softness.best_threshold({0.9: NAN, 0.2: 1.0, 0.1: NAN}) == (0.2, 1.0)
    assert softness.best_threshold({0.9: NAN}) is None
    assert softness.best_threshold({}) is None
    assert softness.best_threshold({0.1: 70.0, 0.5: 70.0, 0.9: NAN}) is None  # a flat curve


def test_mean_and_range_at_each_threshold_leave_out_undefined_dice():
    table = softness.summarize_runs([*RUNS, {0.3: NAN, 0.1: 20.0}])
    assert table.loc[0.1].tolist() == [50, 20, 70]
    assert table.loc[0.3].tolist() == [80, 70, 90]
    assert table.index.tolist() == [0.1, 0.3, 0.5]


@pytest.mark.parametrize(
    ("longest", "unit"),
    [(90, "s"), (119, "s"), (300, "min"), (7100, "min"), (7300, "h"), (1e6, "h")],
)
def test_the_unit_of_time_suits_the_longest_candidate(longest, unit):
    divisor, name = learning.time_unit([1.0, longest])
    assert name == unit
    assert divisor == {"s": 1, "min": 60, "h": 3600}[unit]
