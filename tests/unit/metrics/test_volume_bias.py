from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from softseg.core.errors import UserError
from softseg.metrics.overlap import rvd
from softseg.metrics.significance import mean_interval
from softseg.metrics.volume_bias import score_volume_bias, volume_bias_table

NAN = float("nan")


def table(rows, group="center", **kwargs):
    """Rows (person, center, soft, hard) of one target."""
    frame = pd.DataFrame(rows, columns=["person", "center", "dV_soft_ml", "dV_hard_ml"])
    return volume_bias_table(frame.assign(target="gm", **kwargs), group)


def test_over_estimation_is_positive_where_the_relative_difference_is_negative():
    truth, mask = np.zeros((4, 1, 1), np.float32), np.ones((4, 1, 1), bool)
    truth[:3, 0, 0] = 1, 0.5, 0.4
    soft = np.full((4, 1, 1), 0.6, np.float32)
    result = score_volume_bias(soft, truth, mask, truth >= 0.5, voxel_ml=0.5)
    assert result["dV_soft_ml"] == pytest.approx(0.5 * (2.4 - 1.9))
    assert result["dV_hard_ml"] == pytest.approx(0.5 * (4 - 2))
    assert rvd(mask, truth >= 0.5) < 0
    under = score_volume_bias(soft / 6, truth, mask & False, truth >= 0.5, voxel_ml=0.5)
    assert under["dV_soft_ml"] == pytest.approx(0.5 * (0.4 - 1.9))
    assert under["dV_hard_ml"] == -1


def test_an_empty_truth_has_a_volume_difference():
    empty = np.zeros((2, 2, 2), np.float32)
    result = score_volume_bias(empty + 0.25, empty, empty > 0, empty > 0, voxel_ml=1)
    assert result == {"dV_soft_ml": 2, "dV_hard_ml": 0}


def test_the_table_has_a_row_per_center_and_volume_and_counts_undefined_values():
    rows = [("s1", "b", 1, 10), ("s2", "b", 2, NAN), ("s3", "a", NAN, 5), ("s4", "b", 6, 20)]
    result = table(rows)
    assert result["group"].tolist() == ["b", "b", "a", "a"]
    assert result["volume"].tolist() == ["soft", "hard"] * 2
    assert result["n"].tolist() == [3, 2, 0, 1]
    assert result["left_out"].tolist() == [0, 1, 1, 0]
    np.testing.assert_array_equal(result["bias_ml"], [3, 15, NAN, 5])
    ends = result[["low_ml", "high_ml"]].to_numpy()
    assert ends[0].tolist() == list(mean_interval([1, 2, 6]))
    assert np.isnan(ends[2:]).all()


def test_a_person_with_several_splits_or_sessions_counts_once():
    result = table([("s1", "a", 1, 1), ("s1", "a", 3, 3), ("s2", "a", 10, 10)])
    assert result["bias_ml"].tolist() == [6, 6]  # averaged by row it would be 4.67
    assert result["n"].tolist() == [2, 2]


def test_subjects_without_a_group_or_without_groups():
    rows = [("s1", "a", 1, 1), ("s2", None, 3, 3)]
    assert table(rows, group=None)["group"].tolist() == ["all"] * 2
    assert table(rows, group=None)["bias_ml"].tolist() == [2, 2]
    assert table(rows)["group"].tolist() == ["a", "a", "unknown", "unknown"]


def test_targets_have_separate_rows():
    rows = [("s1", "a", 1, 1), ("s1", "a", 5, 5)]
    frame = pd.DataFrame(rows, columns=["person", "center", "dV_soft_ml", "dV_hard_ml"])
    result = volume_bias_table(frame.assign(target=["gm", "wm"]), "center")
    assert result["target"].tolist() == ["gm", "gm", "wm", "wm"]
    assert result["bias_ml"].tolist() == [1, 1, 5, 5]


def test_a_missing_column_is_named():
    with pytest.raises(UserError, match="no column scanner"):
        table([("s1", "a", 1, 1)], group="scanner")
