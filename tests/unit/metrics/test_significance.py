"""Signed-rank test, Holm's correction and bootstrap intervals: enumeration, closed formulas."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from softseg.metrics.significance import holm, mean_interval, median_interval, wilcoxon

NAN = float("nan")


def ranks(sizes):
    """Mean ranks, from the definition."""
    return [sum(o < s for o in sizes) + (sum(o == s for o in sizes) + 1) / 2 for s in sizes]


def enumerated(differences):
    """Two-sided p over all 2^n signs."""
    ranked = ranks([abs(d) for d in differences])
    middle = sum(ranked) / 2
    plus = sum(r for r, d in zip(ranked, differences, strict=True) if d > 0)
    sums = [
        sum(r for r, sign in zip(ranked, signs, strict=True) if sign)
        for signs in itertools.product((0, 1), repeat=len(ranked))
    ]
    return sum(abs(s - middle) >= abs(plus - middle) for s in sums) / len(sums)


def normal(differences, continuity):
    """The closed formula with the variance corrected for ties."""
    sizes = [abs(d) for d in differences]
    n, ranked = len(sizes), ranks(sizes)
    plus = sum(r for r, d in zip(ranked, differences, strict=True) if d > 0)
    ties = sum((t := sizes.count(size)) ** 3 - t for size in set(sizes))
    deviation = math.sqrt(n * (n + 1) * (2 * n + 1) / 24 - ties / 48)
    away = max(0.0, abs(plus - n * (n + 1) / 4) - continuity)
    return math.erfc(away / deviation / math.sqrt(2))


def untied(seed, n):
    rng = np.random.default_rng(seed)
    return (rng.permutation(n) + 1.0) * rng.choice([-1, 1], n, p=[0.3, 0.7])


@pytest.mark.parametrize(("n", "p"), [(1, 1), (2, 0.5), (5, 0.0625), (6, 0.03125), (10, 2 / 1024)])
def test_golden_p_values_if_every_difference_is_positive(n, p):
    assert wilcoxon(np.arange(1, n + 1)).p == pytest.approx(p, rel=1e-12)


def test_the_example_of_darwins_maize():
    # 15 pairs of cross- and self-fertilized plants, eighths of an inch (Darwin 1876)
    maize = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    result = wilcoxon(maize)
    assert result.method == "exact"
    assert result.p == pytest.approx(enumerated(maize), rel=1e-12)
    assert round(result.p, 3) == 0.041


@pytest.mark.parametrize("n", [3, 7, 11])
@pytest.mark.parametrize("seed", range(3))
def test_auto_is_exact_for_a_small_sample(n, seed):
    differences = untied(seed, n)
    result = wilcoxon(differences)
    assert result.method == "exact"
    assert result.p == pytest.approx(enumerated(differences), rel=1e-12)


@pytest.mark.parametrize(("method", "continuity"), [("paper", 0), ("approx", 0.5)])
@given(whole=st.lists(st.integers(-8, 8), min_size=1, max_size=60))
def test_the_approximations_follow_the_closed_formula_with_ties_and_zeros(
    method, continuity, whole
):
    moved = [d for d in whole if d]
    result = wilcoxon(whole, method)
    assert result.zeros == len(whole) - len(moved)
    assert result.tied == sum(sum(abs(o) == abs(d) for o in moved) > 1 for d in moved)
    expected = normal(moved, continuity) if moved else 1
    assert result.p == pytest.approx(expected, rel=1e-9)
    assert result.method == (method if moved else "")


def test_the_papers_p_of_forty_runs_differs_from_the_exact_one_as_it_did_there():
    """.001089877 there against .000755: two numbers that one rank sum of 40 must explain."""
    rows = np.arange(1.0, 41)
    z = stats.norm.isf(0.001089877 / 2)
    minus = round(410 - z * math.sqrt(40 * 41 * 81 / 24))
    signs = np.ones(40)
    left = minus
    for place in range(39, -1, -1):
        if rows[place] <= left:
            signs[place], left = -1, left - rows[place]
    assert left == 0
    assert wilcoxon(rows * signs, "paper").p == pytest.approx(0.001089877, abs=5e-10)
    assert wilcoxon(rows * signs, "exact").p == pytest.approx(0.000755, abs=5e-7)
    assert wilcoxon(rows * signs).method == "exact"


def test_auto_is_exact_up_to_50_differences_without_zeros_and_ties():
    assert wilcoxon(untied(0, 50)).method == "exact"
    assert wilcoxon(untied(0, 51)).method == "approx"
    assert wilcoxon([*untied(0, 12), 0]).method == "approx"
    assert wilcoxon([*untied(0, 12), 5]).method == "approx"


@pytest.mark.parametrize("method", ["auto", "exact", "approx", "paper"])
def test_differences_that_are_all_zero_have_a_p_of_one(method):
    result = wilcoxon([0.0, 0.0, -0.0], method)
    assert (result.p, result.pairs, result.zeros, result.tied) == (1, 3, 3, 0)
    assert result.method == ""
    assert result.note == "every difference is zero"


def test_no_pairs_have_no_p():
    result = wilcoxon([])
    assert math.isnan(result.p)
    assert (result.pairs, result.method, result.note) == (0, "", "no pairs")


def test_zeros_and_ties_are_noted():
    result = wilcoxon([0, 0, 1, -1, 1, 2, 3, 4, -5])
    assert (result.pairs, result.zeros, result.tied) == (9, 2, 3)
    assert result.note == "2 zero differences dropped; 3 differences tied in size"
    assert wilcoxon(untied(0, 8)).note == ""
    assert "exact" in wilcoxon([1, 1, 2, 3, 4, 5, 6], "exact").note


@pytest.mark.parametrize("method", ["auto", "exact", "approx", "paper"])
def test_too_few_pairs_for_significance_are_noted_for_every_method(method):
    few = wilcoxon([0, 1, 2, 3, 4, 5], method)  # the zero does not count
    assert "no exact p-value is below 0.05 (the least is 0.0625)" in few.note
    assert 0.04 < few.p < 0.07  # the paper's method alone would call it significant
    assert "no exact" not in wilcoxon([1, 2, 3, 4, 5, 6], method).note


def test_the_test_does_not_depend_on_the_sign_or_the_unit():
    differences = untied(4, 20)
    assert wilcoxon(-differences).p == wilcoxon(differences).p == wilcoxon(differences * 0.125).p


def test_undefined_differences_and_unknown_methods_are_rejected():
    with pytest.raises(ValueError, match="finite"):
        wilcoxon([1, NAN])
    with pytest.raises(ValueError, match="'pratt' is not auto"):
        wilcoxon([1, 2], "pratt")


def test_holm_by_hand():
    # sorted .005 .01 .03 .04, times 4 3 2 1 = .02 .03 .06 .04, and never falling: .06 last
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, 0.5]), [1, 1])
    np.testing.assert_allclose(holm([0.02]), [0.02])


def test_holm_does_not_count_nan():
    np.testing.assert_allclose(holm([NAN, 0.02, NAN, 0.01]), [NAN, 0.02, NAN, 0.02])
    assert np.isnan(holm([NAN, NAN])).all()
    assert holm([]).size == 0


P = st.one_of(st.floats(0, 1), st.just(NAN), st.sampled_from([0.01, 0.02]))


@given(values=st.lists(P, max_size=12))
def test_holm_equals_the_definition_of_stepping_down(values):
    adjusted = holm(values)
    defined = [i for i, p in enumerate(values) if not math.isnan(p)]
    assert [i for i, p in enumerate(adjusted) if not math.isnan(p)] == defined
    for i in defined:
        assert values[i] <= adjusted[i] <= 1
        # the definition: the largest of the steps up to this one
        steps = [p * sum(values[k] >= p for k in defined) for p in values if p <= values[i]]
        assert adjusted[i] == pytest.approx(min(1, max(steps)))
        assert all(adjusted[i] <= adjusted[j] for j in defined if values[i] <= values[j])


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


def test_the_resamples_are_those_of_seed_0():
    values = np.random.default_rng(1).normal(size=31)
    rng = np.random.default_rng(0)
    means = [values[rng.integers(0, 31, (1000, 31))].mean(axis=1) for _ in range(10)]
    expected = np.percentile(np.concatenate(means), [2.5, 97.5])
    assert mean_interval(values) == pytest.approx(tuple(expected), rel=1e-12)
