from __future__ import annotations

import math

import numpy as np
import pytest

from softseg.metrics.repeatability import repeatability

# Shrout and Fleiss 1979, Table 2: six targets, four ratings each; ICC(1,1) = 0.17
RATINGS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def test_the_published_example():
    groups = [target for target in range(6) for _ in range(4)]
    result = repeatability(np.ravel(RATINGS), groups)
    assert (result.groups, result.measurements) == (6, 24)
    assert result.icc == pytest.approx(0.1657, abs=5e-5)
    assert result.within_sd == pytest.approx(math.sqrt(6.26), abs=1e-3)  # its mean square within


def test_pairs():
    first, second = np.array([1.0, 2, 4]), np.array([1.2, 1.8, 4.5])
    result = repeatability([*first, *second], [*"abc", *"abc"])
    assert result.within_sd == pytest.approx(math.sqrt(np.square(first - second).sum() / 6))
    assert result.least_detectable_change == pytest.approx(1.96 * math.sqrt(2) * result.within_sd)
    assert result.mean == pytest.approx((first.mean() + second.mean()) / 2)


def test_95_percent_of_changes_without_a_change_are_below_the_least_detectable_change():
    rng = np.random.default_rng(0)
    values = rng.normal(10, 3, 5000).repeat(2) + rng.normal(0, 0.4, 10_000)
    result = repeatability(values, np.arange(5000).repeat(2).tolist())
    assert result.within_sd == pytest.approx(0.4, rel=0.03)
    assert result.icc == pytest.approx(9 / 9.16, abs=0.003)
    changes = np.abs(values[::2] - values[1::2])
    assert (changes < result.least_detectable_change).mean() == pytest.approx(0.95, abs=0.01)


def test_single_measurements_do_not_count():
    result = repeatability([1, 2, 3, 100], ["a", "a", "b", "c"])
    assert (result.groups, result.measurements, result.mean) == (1, 2, 1.5)
    assert result.within_sd == pytest.approx(math.sqrt(0.5))
    assert math.isnan(result.icc)


def test_without_repeats_nothing_is_defined():
    result = repeatability([1, 2], ["a", "b"])
    assert result.groups == 0
    assert math.isnan(result.within_sd)
    assert math.isnan(result.least_detectable_change)


def test_equal_values_have_no_icc():
    result = repeatability([5, 5, 5, 5], ["a", "a", "b", "b"])
    assert result.within_sd == 0
    assert math.isnan(result.icc)


def test_unequal_groups():
    """The effective size of a group, as in the formula for unbalanced one-way models."""
    values, groups = [1.0, 2, 3, 5, 6, 9], ["a", "a", "a", "b", "b", "c"]
    result = repeatability(values, groups)
    within = (2 + 0.5) / 3
    means, counts = np.array([2, 5.5]), np.array([3, 2])
    between = (counts * (means - np.mean(values[:5])) ** 2).sum()
    size = 5 - 13 / 5
    assert result.icc == pytest.approx((between - within) / (between + (size - 1) * within))
