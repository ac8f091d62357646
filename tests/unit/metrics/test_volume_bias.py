from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softseg.core.errors import UserError
from softseg.metrics import rvd
from softseg.metrics.volume_bias import mean_interval, score_volume_bias, volume_bias_table

NAN = float("nan")


def table(rows, group="center", **kwargs):
    """Rows (person, center, soft, hard) of one target."""
    frame = pd.DataFrame(rows, columns=["person", "center", "dV_soft_ml", "dV_hard_ml"])
    return volume_bias_table(frame.assign(target="gm", **kwargs), group)


def test_over_estimation_is_positive_where_the_relative_difference_is_negative():
    truth, mask = np.zeros((4, 1, 1), np.float32), np.ones((4, 1, 1), bool)
    truth[:3, 0, 0] = 1, 0.5, 0.4
    soft = np.full((4, 1, 1), 0.6, np.float32)
    found = score_volume_bias(soft, truth, mask, voxel_ml=0.5)
    assert found["dV_soft_ml"] == pytest.approx(0.5 * (2.4 - 1.9))
    assert found["dV_hard_ml"] == pytest.approx(0.5 * (4 - 2))
    assert rvd(mask, truth >= 0.5) < 0
    under = score_volume_bias(soft / 6, truth, mask & False, voxel_ml=0.5)
    assert under["dV_soft_ml"] == pytest.approx(0.5 * (0.4 - 1.9))
    assert under["dV_hard_ml"] == -1


def test_an_empty_truth_has_a_volume_difference():
    empty = np.zeros((2, 2, 2), np.float32)
    found = score_volume_bias(empty + 0.25, empty, empty > 0, voxel_ml=1)
    assert found == {"dV_soft_ml": 2, "dV_hard_ml": 0}


def test_a_row_a_center_and_volume_with_what_was_left_out():
    rows = [("s1", "b", 1, 10), ("s2", "b", 2, NAN), ("s3", "a", NAN, 5), ("s4", "b", 6, 20)]
    found = table(rows)
    assert found["group"].tolist() == ["b", "b", "a", "a"]
    assert found["volume"].tolist() == ["soft", "hard"] * 2
    assert found["n"].tolist() == [3, 2, 0, 1]
    assert found["left_out"].tolist() == [0, 1, 1, 0]
    np.testing.assert_array_equal(found["bias_ml"], [3, 15, NAN, 5])
    ends = found[["low_ml", "high_ml"]].to_numpy()
    assert ends[0].tolist() == list(mean_interval([1, 2, 6]))
    assert np.isnan(ends[2:]).all()


def test_a_person_of_several_splits_or_sessions_counts_once():
    found = table([("s1", "a", 1, 1), ("s1", "a", 3, 3), ("s2", "a", 10, 10)])
    assert found["bias_ml"].tolist() == [6, 6]  # by row it were 4.67
    assert found["n"].tolist() == [2, 2]


def test_all_together_and_subjects_without_a_center():
    rows = [("s1", "a", 1, 1), ("s2", None, 3, 3)]
    assert table(rows, group=None)["group"].tolist() == ["all"] * 2
    assert table(rows, group=None)["bias_ml"].tolist() == [2, 2]
    assert table(rows)["group"].tolist() == ["a", "a", "unknown", "unknown"]


def test_targets_are_apart():
    rows = [("s1", "a", 1, 1), ("s1", "a", 5, 5)]
    frame = pd.DataFrame(rows, columns=["person", "center", "dV_soft_ml", "dV_hard_ml"])
    found = volume_bias_table(frame.assign(target=["gm", "wm"]), "center")
    assert found["target"].tolist() == ["gm", "gm", "wm", "wm"]
    assert found["bias_ml"].tolist() == [1, 1, 5, 5]


def test_a_missing_column_is_named():
    with pytest.raises(UserError, match="no column scanner"):
        table([("s1", "a", 1, 1)], group="scanner")


def test_the_interval_is_that_of_all_resamples():
    """Of four values all 256 resamples can be listed; 10 000 drawn ones come near."""
    values = np.array([-1.0, 0.5, 2.0, 7.0])
    every = np.stack(np.meshgrid(*[values] * 4)).reshape(4, -1).mean(axis=0)
    expected = np.percentile(every, [2.5, 97.5])
    assert mean_interval(values) == pytest.approx(tuple(expected), abs=0.3)


def test_the_interval_of_many_is_that_of_the_normal_distribution():
    values = np.random.default_rng(2).normal(3, 2, 400)
    error = values.std(ddof=1) / 20
    low, high = mean_interval(values)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.03)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.03)


@pytest.mark.filterwarnings("error")
def test_the_interval_repeats_and_needs_two_volumes():
    values = np.random.default_rng(1).normal(size=31)
    assert mean_interval(values) == mean_interval(values)
    assert mean_interval([2.5, 2.5]) == (2.5, 2.5)
    for few in ([], [1.0]):
        assert all(math.isnan(end) for end in mean_interval(few))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=20))
def test_the_interval_is_within_the_values(values):
    low, high = mean_interval(values)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
