"""The bootstrap intervals of a mean and of a median."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softseg.metrics.bootstrap import mean_interval, median_interval


def test_the_interval_of_a_median_is_the_same_bits_whatever_was_sampled_before():
    values = np.random.default_rng(1).normal(size=31)
    before = median_interval(values)
    np.random.default_rng().normal(size=5)
    np.random.seed(3)  # noqa: NPY002
    median_interval(values[:9])
    assert median_interval(values) == before


@pytest.mark.parametrize("n", [9, 15, 25])
def test_the_interval_of_a_median_ends_at_the_order_statistics_of_theory(n):
    """P(median* <= x_(k)) = P(Binomial(n, k/n) >= (n+1)/2) for an odd n."""
    values = np.sort(np.random.default_rng(n).normal(size=n))

    def below(k):
        p, half = k / n, (n + 1) // 2
        return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(half, n + 1))

    low = next(k for k in range(1, n + 1) if below(k) >= 0.025)
    high = next(k for k in range(1, n + 1) if below(k) >= 0.975)
    assert median_interval(values) == (values[low - 1], values[high - 1])


@settings(max_examples=20, deadline=None)
@given(values=st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_the_interval_contains_the_median(values):
    low, high = median_interval(values)
    assert low <= np.median(values) <= high


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [[2.5], [2.5] * 7])
def test_one_value_or_equal_values_are_their_own_interval_without_a_warning(values):
    assert median_interval(values) == (2.5, 2.5)
    assert all(math.isnan(end) for end in median_interval([]))


def test_the_interval_of_a_mean_is_that_of_all_resamples():
    """Of four values all 256 resamples can be listed; 10 000 random ones come near."""
    values = np.array([-1.0, 0.5, 2.0, 7.0])
    every = np.stack(np.meshgrid(*[values] * 4)).reshape(4, -1).mean(axis=0)
    expected = np.percentile(every, [2.5, 97.5])
    assert mean_interval(values) == pytest.approx(tuple(expected), abs=0.3)


def test_the_interval_of_the_mean_of_many_is_that_of_the_normal_distribution():
    values = np.random.default_rng(2).normal(3, 2, 400)
    error = values.std(ddof=1) / 20
    low, high = mean_interval(values)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.03)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.03)


@pytest.mark.filterwarnings("error")
def test_the_interval_of_a_mean_is_reproducible_and_needs_two_values():
    values = np.random.default_rng(1).normal(size=31)
    assert mean_interval(values) == mean_interval(values)
    assert mean_interval([2.5, 2.5]) == (2.5, 2.5)
    for few in ([], [1.0]):
        assert all(math.isnan(end) for end in mean_interval(few))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=20))
def test_the_interval_of_a_mean_is_within_the_values(values):
    low, high = mean_interval(values)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
