from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.losses import build, row
from tests.unit.losses.test_boundary import EMPTY, ROW, SOFT, drawn

# one voxel of four classes, of which the first is right: its map's values, and logits
BOUNDARY, RECTIFIED, LOGITS = (-3.0, 1.0, 40.0, 5.0), (-0.5, 1.0, 1.0, 1.0), (-1.0, 0.0, 3.0, 1.0)
MAPS = ["rrw", "boundary", "active_contour"]


def region_wise(prediction, target=ROW, **fields):
    loss = build("region_wise", **fields)
    return loss(prediction, target, drawn(target, loss)).item()


@pytest.mark.parametrize(("prediction", "expected"), [(ROW, -0.3), (EMPTY, 0.1)])
def test_golden_values(prediction, expected):
    assert region_wise(prediction) == pytest.approx(expected, abs=1e-7)


def test_without_the_background_only_the_target_counts():
    assert region_wise(ROW, background=False) == pytest.approx(-0.3)
    assert region_wise(EMPTY, background=False) == 0


def test_golden_values_of_distances_and_of_the_active_contour():
    """Distances inside 1 + 2 + 3 + 2 + 1 = 9, outside as well: of 20 pixels and classes."""
    assert region_wise(ROW, map="boundary") == pytest.approx(-18 / 20)
    assert region_wise(EMPTY, map="boundary") == pytest.approx(0)
    assert region_wise(1 - ROW, map="boundary") == pytest.approx(18 / 20)
    assert region_wise(ROW, map="active_contour") == 0
    assert region_wise(EMPTY, map="active_contour") == pytest.approx(5 / 20)


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_the_active_contour_is_what_is_wrong_of_prediction_and_background(values):
    expected = sum((1 - y) * p + y * (1 - p) for p, y in values) / (2 * len(values))
    prediction, target = (row(*side) for side in zip(*values, strict=True))
    assert region_wise(prediction, target, map="active_contour") == pytest.approx(expected)


def gradient(values, logits=LOGITS):
    """Of the logits of a softmax over four classes, of the published loss of one voxel."""
    at = torch.tensor(logits, dtype=torch.float64).requires_grad_()
    probability, z = (each.view(1, 4, 1, 1) for each in (at.softmax(0), torch.tensor(values)))
    loss = build("region_wise", background=False, reduction="sum")
    loss(probability, torch.zeros_like(probability), {"rrw": z}).backward()
    return at.grad.tolist()


def test_golden_gradients_of_a_softmax():
    assert gradient(BOUNDARY) == pytest.approx([-0.56, -1.36, 5.16, -3.24], abs=0.005)
    assert gradient(RECTIFIED) == pytest.approx([-0.0225, 0.0009, 0.0190, 0.0026], abs=5e-5)


@settings(max_examples=40, deadline=None)
@given(logits=st.lists(st.floats(-5, 5), min_size=4, max_size=4))
def test_the_rectified_map_pushes_up_the_right_class_only(logits):
    right, *wrong = gradient(RECTIFIED, logits)
    assert right < 0
    assert min(wrong) > 0


def test_of_one_target_with_a_sigmoid_it_is_the_softmax_of_two_classes():
    """Published: the mean over voxels and classes of softmax times map."""
    loss, logit = build("region_wise"), torch.linspace(-3, 3, 10).double().view(1, 1, 1, 10)
    maps = drawn(ROW, loss)
    classes = torch.cat([logit, torch.zeros_like(logit)], dim=1).softmax(1)
    z = torch.cat([maps["rrw"], maps["rrw_background"]], dim=1)
    expected = (classes * z).mean().item()
    assert loss(logit.sigmoid(), ROW, maps).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", MAPS)
@settings(max_examples=30, deadline=None)
@given(target=st.lists(st.floats(0, 1), min_size=2, max_size=8), seed=st.integers(0, 2**31))
def test_the_minimum_is_the_hard_mask_whatever_the_soft_target(kind, target, seed):
    target = row(*target)
    best = region_wise((target >= 0.5).double(), target, map=kind)
    other = torch.rand(target.shape, generator=torch.Generator().manual_seed(seed)).double()
    for prediction in (other, target, other.round()):
        assert region_wise(prediction, target, map=kind) >= best - 1e-12


@pytest.mark.parametrize("kind", MAPS)
def test_a_soft_target_is_not_its_own_minimum(kind):
    hard = (SOFT >= 0.5).double()
    assert region_wise(hard, SOFT, map=kind) < region_wise(SOFT, SOFT, map=kind) - 0.02


def test_a_target_that_a_slice_has_not_costs_where_it_is_predicted():
    """Its map is 1 everywhere and that of the background -1: from -1 / 2 to 1 / 2."""
    assert region_wise(EMPTY, EMPTY) == -0.5
    assert region_wise(1 - EMPTY, EMPTY) == 0.5


def test_each_target_has_its_own_maps():
    """Of two targets the loss is the mean of theirs."""
    other = row(1, 1, 0, 0, 0, 0, 0, 0, 0, 0)
    both = torch.cat([ROW, other], dim=1)
    prediction = torch.cat([SOFT, SOFT], dim=1)
    expected = (region_wise(SOFT) + region_wise(SOFT, other)) / 2
    assert region_wise(prediction, both) == pytest.approx(expected)


@pytest.mark.parametrize("fields", [{}, {"background": False}], ids=str)
def test_the_sum_is_the_mean_times_voxels_and_classes(fields):
    count = 10 if fields else 20
    total = region_wise(SOFT, reduction="sum", **fields)
    assert total == pytest.approx(count * region_wise(SOFT, **fields))


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({}, ("rrw", "rrw_background")),
        ({"background": False}, ("rrw",)),
        ({"map": "boundary"}, ("edt", "edt_background")),
        ({"map": "boundary", "background": False}, ("edt",)),
        ({"map": "active_contour"}, ()),
    ],
)
def test_the_maps_it_asks_for(fields, kinds):
    assert build("region_wise", **fields).required_maps == kinds


def test_an_active_contour_that_nothing_predicted_would_win_is_refused():
    with pytest.raises(ValueError, match="set background to true"):
        build("region_wise", map="active_contour", background=False)


@pytest.mark.parametrize(
    ("fields", "low", "high"),
    [({}, -0.5, 0.5), ({"background": False}, -1, 1), ({"map": "active_contour"}, 0, 0.5)],
    ids=str,
)
@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_the_documented_range(fields, low, high, values):
    """Reached by a slice that is all target or has none, predicted rightly or wrongly."""
    prediction, target = (row(*side) for side in zip(*values, strict=True))
    assert low <= region_wise(prediction, target, **fields) <= high
    corners = [region_wise(row(p), row(y), **fields) for p in (0, 1) for y in (0, 1)]
    assert (min(corners), max(corners)) == (low, high)
