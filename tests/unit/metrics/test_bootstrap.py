"""The bootstrap interval of a median."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softseg.metrics.bootstrap import median_interval


def test_the_interval_repeats_bit_for_bit_whatever_was_drawn_before():
    values = np.random.default_rng(1).normal(size=31)
    before = median_interval(values)
    np.random.default_rng().normal(size=5)
    np.random.seed(3)  # noqa: NPY002
    median_interval(values[:9])
    assert median_interval(values) == before


@pytest.mark.parametrize("n", [9, 15, 25])
def test_its_ends_are_the_order_statistics_that_theory_gives(n):
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
def test_one_value_or_equal_ones_are_their_own_interval_without_a_warning(values):
    assert median_interval(values) == (2.5, 2.5)
    assert all(math.isnan(end) for end in median_interval([]))
