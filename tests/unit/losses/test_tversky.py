"""Tversky and focal Tversky, for hard targets (product) and soft ones (minimum)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.losses import SOFT, batch, build, row


def index(p, y, fp, fn, s, intersection):
    """The Tversky index of one target, from sets: what is true, false positive and missed."""
    if intersection == "product":
        true, false, missed = p * y, p * (1 - y), y * (1 - p)
    else:  # as Wang et al. count, from L1 norms
        true = (p + y - np.abs(p - y)) / 2
        false, missed = p - true, y - true
    tp = true.sum()
    return (tp + s) / (tp + fp * false.sum() + fn * missed.sum() + s)


@pytest.mark.parametrize("intersection", ["product", "minimum"])
@pytest.mark.parametrize(("fp", "fn"), [(0.3, 0.7), (0.7, 0.3), (1.0, 0.25)])
@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize("gamma", [4 / 3, 1.0, 0.5, 3.0])
def test_the_formula(intersection, fp, fn, smooth, gamma):
    prediction, target = batch(1, 2, 4, 5)
    fields = {"fp_weight": fp, "fn_weight": fn, "smooth": smooth, "intersection": intersection}
    sides = zip(prediction[0].numpy(), target[0].numpy(), strict=True)
    distances = np.array([1 - index(p, y, fp, fn, smooth, intersection) for p, y in sides])
    plain = build("tversky", **fields)(prediction, target)
    focal = build("focal_tversky", gamma=gamma, **fields)(prediction, target)
    assert plain.item() == pytest.approx(distances.mean(), rel=1e-12)
    assert focal.item() == pytest.approx((distances ** (1 / gamma)).mean(), rel=1e-12)


def test_by_default_a_missed_voxel_costs_more_than_a_false_one():
    """Salehi's weights: 1 hit and 1 miss cost .7 / 1.7, 1 hit and 1 false alarm .3 / 1.3."""
    loss = build("tversky", smooth=0.0)
    assert loss(row(1, 0, 0), row(1, 1, 0)).item() == pytest.approx(0.7 / 1.7)
    assert loss(row(1, 1, 0), row(1, 0, 0)).item() == pytest.approx(0.3 / 1.3)


def test_by_default_the_exponent_of_focal_tversky_is_three_quarters():
    loss = build("focal_tversky", smooth=0.0)
    assert loss(row(1, 0), row(1, 1)).item() == pytest.approx((0.7 / 1.7) ** 0.75)


@pytest.mark.parametrize(
    ("weight", "intersection", "other", "factor"),
    [
        (0.5, "product", "dice", 2),
        (0.5, "minimum", "dml1", 2),
        (1.0, "minimum", "jml1", 1),
    ],
)
@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_special_cases(weight, intersection, other, factor, smooth):
    fields = {"fp_weight": weight, "fn_weight": weight, "intersection": intersection}
    prediction, target = batch(2, 2, 4, 5)
    loss = build("tversky", smooth=smooth, **fields)(prediction, target)
    assert loss.item() == pytest.approx(
        build(other, smooth=factor * smooth)(prediction, target).item(), rel=1e-12
    )


@settings(max_examples=40, deadline=None)
@given(y=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=4), seed=st.integers(0, 2**31))
@pytest.mark.parametrize("name", ["dice", "tversky", "focal_tversky"])
def test_with_the_product_some_hard_mask_is_best(name, y, seed):
    """Whatever the soft target: hence these losses are not minimized at it."""
    loss, target = build(name, smooth=0.0), row(*y)
    masks = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * len(y)).view(-1, len(y))
    best = min(loss(row(*mask), target).item() for mask in masks.tolist() if any(mask))
    generator = torch.Generator().manual_seed(seed)
    gray = row(*torch.rand(len(y), generator=generator).tolist())
    assert best <= loss(gray, target).item() + 1e-12
    assert best < loss(target, target).item()


def test_focal_tversky_stays_finite_on_the_way_to_its_minimum():
    """Its slope goes to infinity there; in float32 it is cut off below the resolution."""
    target = row(*SOFT, dtype=torch.float32)
    for error in (1e-2, 1e-4, 1e-6, 1e-8, 0.0):
        at = (target - error).requires_grad_()
        loss = build("focal_tversky", intersection="minimum")(at, target)
        loss.backward()
        assert loss.isfinite()
        assert at.grad.abs().max() < 100
    assert loss.item() == 0
    assert at.grad.abs().max() == 0


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "tversky", "fp_weight": 0},
        {"name": "tversky", "fn_weight": -1},
        {"name": "tversky", "alpha": 0.3},
        {"name": "tversky", "intersection": "l2"},
        {"name": "tversky", "gamma": 2},
        {"name": "focal_tversky", "gamma": 0},
    ],
    ids=str,
)
def test_impossible_values_are_refused(spec):
    with pytest.raises(ValueError, match=spec["name"]):
        build(**spec)
