"""Weights of the terms of a combination over epochs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from softseg.core.component import Component, parse_component
from softseg.losses.combination import Weight, final_epoch, weight_at


class Weighted(Component):
    weight: Weight


FAMILY = TypeAdapter(Weighted)


def read(weight):
    return parse_component(FAMILY, {"weight": weight}).weight


def at(weight, *epochs):
    return [weight_at(read(weight), epoch) for epoch in epochs]


def linear(first, last, start, stop):
    return {"name": "linear", "first": first, "last": last, "start": start, "stop": stop}


@pytest.mark.parametrize("weight", [0.5, {"name": "constant", "value": 0.5}], ids=str)
def test_a_number_is_the_same_in_every_epoch(weight):
    assert at(weight, 0, 1, 1000) == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (linear(0, 50, 0, 1), {0: 0, 1: 0.02, 25: 0.5, 49: 0.98, 50: 1, 51: 1, 999: 1}),
        (linear(10, 14, 1, 0.2), {0: 1, 10: 1, 11: 0.8, 12: 0.6, 14: 0.2, 15: 0.2}),
        (linear(3, 3, 0.1, 0.3), {0: 0.1, 2: 0.1, 3: 0.3, 4: 0.3}),
        (linear(0, 0, 0, 2), {0: 2, 1: 2}),
    ],
    ids=str,
)
def test_a_linear_weight_is_constant_before_first_and_after_last(weight, expected):
    assert at(weight, *expected) == pytest.approx(list(expected.values()))


@settings(max_examples=50, deadline=None)
@given(ends=st.tuples(st.floats(0, 10), st.floats(0, 10)), first=st.integers(0, 9))
def test_a_linear_weight_reaches_its_ends_exactly(ends, first):
    weight = linear(first, first + 7, *ends)
    assert at(weight, first, first + 7) == list(ends)
    assert all(min(ends) <= w * (1 + 1e-15) for w in at(weight, *range(20)))


def test_a_weight_that_ends_before_it_begins_is_rejected():
    with pytest.raises(ValueError, match=r"ends \(last: 5\) before it begins \(first: 10\)"):
        at(linear(10, 5, 0, 1), 0)


@pytest.mark.parametrize(
    "weight",
    [
        -0.1,
        "1",
        True,
        {"name": "constant", "value": -1},
        {"name": "cosine"},
        linear(-1, 5, 0, 1),
        linear(0, 5.5, 0, 1),
        linear(0, 5, -1, 1),
        {"name": "rebalance"},
        {"name": "rebalance", "role": "regional", "step": 0},
        {"name": "rebalance", "role": "regional", "floor": 1.5},
    ],
    ids=str,
)
def test_impossible_weights_are_rejected(weight):
    with pytest.raises(ValueError, match="Weighted\nweight"):
        at(weight, 0)


def test_the_papers_schedule():
    """alpha = 1, and 0.01 less after each epoch down to 0.01; 1 - alpha for the contour."""
    epochs = [0, 1, 50, 98, 99, 100, 500]
    alphas = [1, 0.99, 0.5, 0.02, 0.01, 0.01, 0.01]
    assert at({"name": "rebalance", "role": "regional"}, *epochs) == pytest.approx(alphas)
    expected = [1 - alpha for alpha in alphas]
    assert at({"name": "rebalance", "role": "contour"}, *epochs) == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(step=st.floats(1e-3, 1), floor=st.floats(0, 1), epoch=st.integers(0, 2000))
def test_rebalance_follows_its_formula_and_both_roles_sum_to_one(step, floor, epoch):
    fields = {"name": "rebalance", "step": step, "floor": floor}
    [regional] = at({**fields, "role": "regional"}, epoch)
    [contour] = at({**fields, "role": "contour"}, epoch)
    assert regional == pytest.approx(max(floor, 1 - step * epoch), abs=1e-9)
    assert regional + contour == pytest.approx(1)
    assert min(regional, contour) >= 0


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 1000))
def test_equal_steps_to_0_end_at_0_whatever_the_rounding(count):
    weight = {"name": "rebalance", "role": "regional", "step": 1 / count, "floor": 0.0}
    before, end = at(weight, count - 1, count)
    assert before > end == 0
    assert final_epoch(read(weight)) == count


@settings(max_examples=50, deadline=None)
@given(
    weight=st.one_of(
        st.floats(0, 1),
        st.builds(
            lambda first, length, start, stop: linear(first, first + length, start, stop),
            st.integers(0, 9),
            st.integers(0, 9),
            st.floats(0, 1),
            st.floats(0, 1),
        ),
        st.fixed_dictionaries(
            {
                "name": st.just("rebalance"),
                "role": st.sampled_from(["regional", "contour"]),
                "step": st.floats(0.01, 1),
                "floor": st.floats(0, 1),
            }
        ),
    )
)
def test_after_its_final_epoch_a_weight_does_not_change(weight):
    epoch = final_epoch(read(weight))
    assert len(set(at(weight, *range(epoch, epoch + 5)))) == 1
