"""Weighted sums of losses, and which combinations are valid."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from softseg import losses
from tests.support.losses import batch, build, combination, maps_for

DICE, MSE, BOUNDARY = {"name": "dice"}, {"name": "mse"}, {"name": "boundary"}
REGION_WISE, CONTOUR = {"name": "region_wise"}, {"name": "region_wise", "map": "active_contour"}
UP = {"name": "linear", "first": 0, "last": 50, "start": 0, "stop": 1}
DOWN = {"name": "linear", "first": 0, "last": 50, "start": 1, "stop": 0}


def combined(*terms):
    """A combination of (loss, weight)."""
    return losses.build(combination(*terms))


def test_a_combination_is_the_weighted_sum_of_its_terms():
    loss = combined((DICE, 0.5), (MSE, 2), (BOUNDARY, 0.1))
    prediction, target = batch(2, 2, 5, 4)
    maps = maps_for(loss, target)
    boundary = (maps["half_pixel"] * prediction).mean()
    expected = 0.5 * build("dice")(prediction, target) + 2 * (prediction - target).square().mean()
    result = loss(prediction, target, maps)
    assert result.shape == ()
    assert result.item() == pytest.approx((expected + 0.1 * boundary).item())


def test_at_an_epoch_a_schedule_is_its_weight_in_that_epoch():
    scheduled = combined((DICE, 0.5), (BOUNDARY, UP))
    prediction, target = batch(1, 1, 5, 4)
    maps = maps_for(scheduled, target)
    for epoch, weight in {0: 0, 10: 0.2, 50: 1, 80: 1}.items():
        fixed = combined((DICE, 0.5), (BOUNDARY, weight))
        assert scheduled.at(epoch) == fixed
        assert scheduled.at(epoch)(prediction, target, maps) == fixed(prediction, target, maps)


def test_at_does_not_change_the_combination():
    scheduled = combined((DICE, 0.5), (BOUNDARY, UP))
    before = scheduled.model_dump()
    scheduled.at(10)
    assert scheduled.model_dump() == before


def test_the_default_weight_is_one():
    loss = build("combination", terms=[{"loss": DICE}, {"loss": MSE}])
    prediction, target = batch(1, 1, 5, 4)
    expected = build("dice")(prediction, target) + build("mse")(prediction, target)
    assert loss(prediction, target).item() == pytest.approx(expected.item())


def test_without_an_epoch_a_combination_with_a_schedule_is_rejected():
    prediction, target = batch(1, 1, 5, 4)
    with pytest.raises(ValueError, match=r"linear weight changes.*at\(epoch\)"):
        combined((DICE, 1), (MSE, UP))(prediction, target)


def test_a_term_without_weight_is_not_computed():
    """Its map may be anything, even infinite: nothing times infinity is not 0."""
    loss = combined((DICE, 1), (BOUNDARY, 0))
    prediction, target = batch(1, 1, 5, 4)
    value = loss(prediction, target, {"half_pixel": torch.full_like(target, torch.inf)})
    assert value.item() == pytest.approx(build("dice")(prediction, target).item())


def test_the_required_maps_are_those_of_all_terms_once_in_a_fixed_order():
    published = {"name": "boundary", "convention": "published"}
    terms = [(REGION_WISE, 1), (BOUNDARY, 1), (DICE, 1), (published, 1), (BOUNDARY, 2)]
    expected = ("half_pixel", "published", "rrw", "rrw_background")
    assert combined(*terms).required_maps == combined(*terms[::-1]).required_maps == expected
    assert combined((DICE, 1), (CONTOUR, 1)).required_maps == ()


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([(DICE, 1)], "two terms or more"),
        ([], "two terms or more"),
        ([(DICE, 1), ({"name": "combination", "terms": []}, 1)], "'combination' found"),
        ([(DICE, 1), (MSE, -1)], "greater than or equal to 0"),
        ([(DICE, 1), (MSE, {**UP, "first": 60})], "before it begins"),
        ([(DICE, 0), (MSE, 0)], "all weights are 0 in epoch 0 "),
        ([(DICE, 0), (MSE, UP)], "all weights are 0 in epoch 0 "),
        ([(DICE, DOWN), (MSE, {**UP, "first": 50, "last": 60})], "all weights are 0 in epoch 50 "),
        ([(DICE, DOWN), (MSE, {**DOWN, "last": 70})], "all weights are 0 in epoch 70 "),
    ],
    ids=str,
)
def test_impossible_combinations_are_rejected(terms, message):
    with pytest.raises(ValueError, match=message):
        combined(*terms)


falling_weights = st.builds(lambda last: {**DOWN, "last": last}, st.integers(1, 6))
rising_weights = st.builds(
    lambda first, length: {**UP, "first": first, "last": first + length},
    st.integers(0, 6),
    st.integers(0, 3),
)
rebalance_weights = st.fixed_dictionaries(
    {
        "name": st.just("rebalance"),
        "role": st.sampled_from(["regional", "contour"]),
        "step": st.sampled_from([0.2, 1 / 3, 0.5]),
        "floor": st.sampled_from([0.0, 0.1, 1.0]),
    }
)
weights = st.one_of(st.sampled_from([0, 1]), falling_weights, rising_weights, rebalance_weights)


def by_hand(weight, epoch):
    """The weight of an epoch from 0, written as the schedules are described."""
    if not isinstance(weight, dict):
        return weight
    if weight["name"] == "rebalance":
        alpha = max(weight["floor"], round(1 - weight["step"] * epoch, 9))
        return alpha if weight["role"] == "regional" else 1 - alpha
    first, last = weight["first"], weight["last"]
    share = float(epoch >= last) if first == last else (epoch - first) / (last - first)
    return weight["start"] + min(max(share, 0), 1) * (weight["stop"] - weight["start"])


@settings(max_examples=200, deadline=None)
@given(pair=st.tuples(weights, weights))
def test_weights_are_rejected_exactly_if_they_are_all_0_in_some_epoch(pair):
    dead = any(all(by_hand(weight, epoch) == 0 for weight in pair) for epoch in range(40))
    terms = list(zip((DICE, MSE), pair, strict=True))
    if dead:
        with pytest.raises(ValueError, match="all weights are 0"):
            combined(*terms)
    else:
        combined(*terms)


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ([(BOUNDARY, 1), (REGION_WISE, 1)], True),
        ([(BOUNDARY, 1), (DICE, 1)], False),
        ([(BOUNDARY, 1), (DICE, 0)], True),
        ([(BOUNDARY, UP), (DICE, DOWN)], True),
        ([(BOUNDARY, UP), (DICE, {**DOWN, "stop": 0.1})], False),
        ([(BOUNDARY, 1), (DICE, UP)], True),
        ([(BOUNDARY, 1), (DICE, UP), (MSE, DOWN)], False),
        ([(DICE, 1), (MSE, 1)], False),
        ([(DICE, 1), (BOUNDARY, 0)], False),
    ],
    ids=str,
)
def test_contour_only_finds_epochs_with_contour_losses_alone(terms, expected):
    assert losses.contour_only(combined(*terms)) is expected


@pytest.mark.parametrize(("spec", "expected"), [(BOUNDARY, True), (CONTOUR, True), (DICE, False)])
def test_contour_only_of_a_single_loss(spec, expected):
    assert losses.contour_only(build(**spec)) is expected


def test_the_papers_combination_begins_without_the_contour_and_ends_with_a_hundredth_of_the_rest():
    regional, contour = ({"name": "rebalance", "role": role} for role in ("regional", "contour"))
    loss = combined(({"name": "generalized_dice"}, regional), (BOUNDARY, contour))
    weights = {epoch: [term.weight for term in loss.at(epoch).terms] for epoch in (0, 30, 200)}
    assert weights[0] == [1, 0]
    assert weights[30] == pytest.approx([0.7, 0.3])
    assert weights[200] == pytest.approx([0.01, 0.99])


def test_a_combination_survives_being_written_and_read():
    loss = combined((DICE, 0.5), (REGION_WISE, UP))
    assert losses.build(loss.model_dump(mode="json")) == loss
