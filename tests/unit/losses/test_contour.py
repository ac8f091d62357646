"""The formulas of contour losses, and what their maps cost or reward."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from softseg.preprocess.distance_maps import contour_map
from tests.support.losses import (
    ERODED,
    EVERYTHING,
    NOTHING,
    ROW,
    SOFT_ROW,
    build,
    maps_for,
    row,
)

SHIFTED = row(0, 0, 0, 0, 1, 1, 1, 1, 1, 0)
DILATED = row(0, 0, 1, 1, 1, 1, 1, 1, 1, 0)
REGION_MAPS = ["rrw", "boundary", "active_contour"]
KINDS_OF_LOSS = [
    {"name": "boundary"},
    *[{"name": "region_wise", "map": kind} for kind in REGION_MAPS],
]


def boundary(prediction, target=ROW, spacing=(1.0, 1.0), **fields):
    loss = build("boundary", **fields)
    return loss(prediction, target, maps_for(loss, target, spacing)).item()


def region_wise(prediction, target=ROW, **fields):
    loss = build("region_wise", **fields)
    return loss(prediction, target, maps_for(loss, target)).item()


def any_loss(spec, prediction, target, spacing=(1.0, 1.0)):
    loss = build(**spec)
    return loss(prediction, target, maps_for(loss, target, spacing)).item()


# maps


def map_of_row(kind, spacing=1.0):
    return contour_map(ROW[0, 0].numpy() > 0, (1.0, spacing), kind)[0]


def test_golden_maps_of_a_row():
    """The boundary loss's map as in the paper, the map between pixels, and the rectified one."""
    third = 1 / 3
    inside = [1, 1, 1, -third, -2 * third, -1, -2 * third, -third, 1, 1]
    outside = [-1, -2 * third, -third, 1, 1, 1, 1, 1, -third, -2 * third]
    rows = {
        "published": [3, 2, 1, 0, -1, -2, -1, 0, 1, 2],
        "half_pixel": [2.5, 1.5, 0.5, -0.5, -1.5, -2.5, -1.5, -0.5, 0.5, 1.5],
        "rrw": inside,
        "rrw_background": outside,
    }
    for kind, values in rows.items():
        assert map_of_row(kind) == pytest.approx(values, abs=1e-6), kind


@pytest.mark.parametrize(
    ("spacing", "layers"),
    [
        (0.25, [0.75, 0.5, 0.25]),
        (0.5, [0.5, 0, -0.5]),
        (0.7, [0.3, -0.4, -1.1]),
        (2.5, [-1.5, -4, -6.5]),
    ],
)
def test_published_layers_inside_have_the_wrong_sign_where_pixels_are_small(spacing, layers):
    """At a quarter of a millimeter three layers are as if they were outside."""
    assert map_of_row("published", spacing)[3:6] == pytest.approx(layers, abs=1e-6)


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
def test_the_maps_that_region_wise_requires(fields, kinds):
    assert build("region_wise", **fields).required_maps == kinds


# golden values


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [(ROW, -0.4), (NOTHING, 0), (EVERYTHING, 0.5), (SHIFTED, -0.3), (ERODED, -0.4)],
)
def test_golden_values_of_the_published_convention(prediction, expected):
    assert boundary(prediction, convention="published") == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        (ROW, -0.65),
        (NOTHING, 0),
        (EVERYTHING, 0.0),
        (SHIFTED, -0.55),
        (ERODED, -0.55),
        (DILATED, -0.55),
    ],
)
def test_between_pixels_each_wrong_layer_costs(prediction, expected):
    """Inside .5 + 1.5 + 2.5 + 1.5 + .5 = 6.5, outside 2.5 + 1.5 + .5 + .5 + 1.5 = 6.5, of 10."""
    assert boundary(prediction) == pytest.approx(expected, abs=1e-7)


def test_golden_values_of_region_wise():
    """Distances inside 1 + 2 + 3 + 2 + 1 = 9, outside as well: of 20 pixels and classes."""
    assert region_wise(ROW) == pytest.approx(-0.3, abs=1e-7)
    assert region_wise(NOTHING) == pytest.approx(0.1, abs=1e-7)
    assert region_wise(ROW, map="boundary") == pytest.approx(-18 / 20)
    assert region_wise(NOTHING, map="boundary") == pytest.approx(0)
    assert region_wise(1 - ROW, map="boundary") == pytest.approx(18 / 20)
    assert region_wise(ROW, map="active_contour") == 0
    assert region_wise(NOTHING, map="active_contour") == pytest.approx(5 / 20)


def test_region_wise_without_the_background_counts_the_target_only():
    assert region_wise(ROW, background=False) == pytest.approx(-0.3)
    assert region_wise(NOTHING, background=False) == 0


@pytest.mark.parametrize(
    ("spec", "whole", "eroded"),
    [
        ({"name": "boundary", "convention": "published"}, -0.4, -0.4),
        ({"name": "region_wise", "map": "boundary", "background": False}, -0.9, -0.7),
        ({"name": "boundary"}, -0.65, -0.55),
    ],
    ids=str,
)
def test_only_with_the_published_map_a_missing_layer_costs_nothing(spec, whole, eroded):
    found = [any_loss(spec, prediction, ROW) for prediction in (ROW, ERODED, NOTHING)]
    assert found == pytest.approx([whole, eroded, 0], abs=1e-6)


def test_the_published_convention_rewards_eroding_pixels_below_a_millimeter():
    fine = {"spacing": (1.0, 0.25)}
    published = {"convention": "published", **fine}
    assert boundary(ERODED, **published) < boundary(ROW, **published)
    assert boundary(ERODED, **fine) > boundary(ROW, **fine)


@pytest.mark.parametrize("spacing", [0.25, 2.5])
def test_the_boundary_loss_is_in_millimeters(spacing):
    assert boundary(ROW, spacing=(1.0, spacing)) == pytest.approx(-0.65 * spacing)


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_the_active_contour_is_the_error_of_prediction_and_background(values):
    expected = sum((1 - y) * p + y * (1 - p) for p, y in values) / (2 * len(values))
    prediction, target = (row(*side) for side in zip(*values, strict=True))
    assert region_wise(prediction, target, map="active_contour") == pytest.approx(expected)


def test_a_target_that_is_absent_from_the_slice_costs_where_it_is_predicted():
    """Its map is 1 everywhere and that of the background -1: from -1 / 2 to 1 / 2."""
    assert region_wise(NOTHING, NOTHING) == -0.5
    assert region_wise(1 - NOTHING, NOTHING) == 0.5


def test_each_target_has_its_own_maps():
    """Of two targets the loss is the mean of theirs."""
    other = row(1, 1, 0, 0, 0, 0, 0, 0, 0, 0)
    both = torch.cat([ROW, other], dim=1)
    prediction = torch.cat([SOFT_ROW, SOFT_ROW], dim=1)
    expected = (region_wise(SOFT_ROW) + region_wise(SOFT_ROW, other)) / 2
    assert region_wise(prediction, both) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("fields", "low", "high"),
    [({}, -0.5, 0.5), ({"background": False}, -1, 1), ({"map": "active_contour"}, 0, 0.5)],
    ids=str,
)
@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_the_documented_range_of_region_wise(fields, low, high, values):
    """Reached by a slice that is all target or has none, predicted rightly or wrongly."""
    prediction, target = (row(*side) for side in zip(*values, strict=True))
    assert low <= region_wise(prediction, target, **fields) <= high
    corners = [region_wise(row(p), row(y), **fields) for p in (0, 1) for y in (0, 1)]
    assert (min(corners), max(corners)) == (low, high)


def test_an_active_contour_without_background_is_rejected():
    """Its minimum would be an empty prediction."""
    with pytest.raises(ValueError, match="set background to true"):
        build("region_wise", map="active_contour", background=False)


# minimum


@pytest.mark.parametrize("spec", KINDS_OF_LOSS, ids=str)
@settings(max_examples=50, deadline=None)
@given(
    target=st.lists(st.floats(0, 1), min_size=2, max_size=8),
    seed=st.integers(0, 2**31),
    spacing=st.sampled_from([0.25, 0.5, 1.0, 2.5]),
)
def test_the_minimum_is_the_hard_mask_whatever_the_soft_target(spec, target, seed, spacing):
    target, spacing = row(*target), (1.0, spacing)
    minimum = any_loss(spec, (target >= 0.5).double(), target, spacing)
    other = torch.rand(target.shape, generator=torch.Generator().manual_seed(seed)).double()
    for prediction in (other, target, other.round()):
        assert any_loss(spec, prediction, target, spacing) >= minimum - 1e-12


@pytest.mark.parametrize(
    ("spec", "gap"),
    [
        ({"name": "boundary"}, 0.1),
        ({"name": "boundary", "convention": "published"}, 0.1),
        *[({"name": "region_wise", "map": kind}, 0.02) for kind in REGION_MAPS],
    ],
    ids=str,
)
def test_a_soft_target_is_not_its_own_minimum(spec, gap):
    hard = (SOFT_ROW >= 0.5).double()
    assert any_loss(spec, hard, SOFT_ROW) < any_loss(spec, SOFT_ROW, SOFT_ROW) - gap


# gradient


def test_the_gradient_of_the_boundary_loss_is_its_map_whatever_the_prediction():
    loss = build("boundary")
    maps = maps_for(loss, ROW)
    for prediction in (NOTHING, SOFT_ROW, EVERYTHING):
        at = prediction.clone().requires_grad_()
        loss(at, ROW, maps).backward()
        torch.testing.assert_close(at.grad, maps["half_pixel"].double() / 10)


def test_region_wise_of_one_target_with_a_sigmoid_is_the_softmax_of_two_classes():
    """In the paper: the mean over voxels and classes of softmax times map."""
    loss, logit = build("region_wise"), torch.linspace(-3, 3, 10).double().view(1, 1, 1, 10)
    maps = maps_for(loss, ROW)
    classes = torch.cat([logit, torch.zeros_like(logit)], dim=1).softmax(1)
    z = torch.cat([maps["rrw"], maps["rrw_background"]], dim=1)
    expected = (classes * z).mean().item()
    assert loss(logit.sigmoid(), ROW, maps).item() == pytest.approx(expected, rel=1e-12)


# one voxel of four classes, of which the first is right: its map's values, and logits
BOUNDARY, RECTIFIED, LOGITS = (-3.0, 1.0, 40.0, 5.0), (-0.5, 1.0, 1.0, 1.0), (-1.0, 0.0, 3.0, 1.0)
RIGHT, NEAR, NEXT = 0, 1, 3  # classes by their value in the map: -3, 1 and 5; the other's is 40


def softmax_and_gradient(values, logits):
    """The softmax of the voxel's logits, and the gradient of the published loss to them."""
    at = torch.tensor(logits, dtype=torch.float64).requires_grad_()
    probability, z = (each.view(1, 4, 1, 1) for each in (at.softmax(0), torch.tensor(values)))
    loss = build("region_wise", background=False, reduction="sum")
    loss(probability, torch.zeros_like(probability), {"rrw": z}).backward()
    return probability.detach().flatten().numpy(), at.grad.numpy()


def descent(values, rate, steps):
    """Probabilities (steps, 4) of the softmax while its logits descend the loss."""
    logits, track = np.array(LOGITS), []
    for _ in range(steps):
        probability, gradient = softmax_and_gradient(values, logits)
        logits = logits - rate * gradient
        track.append(probability)
    return np.array(track)


def test_golden_gradients_of_a_softmax():
    _, gradient = softmax_and_gradient(BOUNDARY, LOGITS)
    assert gradient == pytest.approx([-0.56, -1.36, 5.16, -3.24], abs=0.005)
    _, gradient = softmax_and_gradient(RECTIFIED, LOGITS)
    assert gradient == pytest.approx([-0.0225, 0.0009, 0.0190, 0.0026], abs=5e-5)


@settings(max_examples=40, deadline=None)
@given(logits=st.lists(st.floats(-5, 5), min_size=4, max_size=4))
def test_the_rectified_map_pushes_up_the_right_class_only(logits):
    _, (right, *wrong) = softmax_and_gradient(RECTIFIED, logits)
    assert right < 0
    assert min(wrong) > 0


def test_with_distances_a_softmax_visits_two_wrong_classes_before_the_right_one():
    track = descent(BOUNDARY, rate=0.2, steps=120)
    assert track[:, NEXT].max() > 0.85
    assert track[:, NEAR].max() == pytest.approx(0.95, abs=5e-3)
    assert track[:, NEXT].argmax() < track[:, NEAR].argmax() < np.argmax(track[:, RIGHT] > 0.5)


def test_with_the_rectified_map_a_softmax_goes_straight_to_the_right_class():
    track = descent(RECTIFIED, rate=2.0, steps=120)
    assert (np.diff(track, axis=0)[:, RIGHT] > 0).all()
    assert track[-1, RIGHT] > 0.95
