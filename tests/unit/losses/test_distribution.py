"""Cross-entropy and the losses made of it: bce, focal and unified_focal."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import xlogy
from torch.nn import functional as F

from tests.support.losses import SOFT, batch, build, row
from tests.unit.losses.test_dice_plus_plus import best


def entropy(p, y):
    return -xlogy(y, p) - xlogy(1 - y, 1 - p)


def test_bce_is_the_cross_entropy():
    prediction, target = batch(2, 2, 4, 5)
    loss = build("bce")(prediction, target)
    assert loss.item() == pytest.approx(entropy(prediction.numpy(), target.numpy()).mean())
    assert loss.item() == pytest.approx(F.binary_cross_entropy(prediction, target).item())


@pytest.mark.parametrize("name", ["bce", "focal"])
@pytest.mark.parametrize("epsilon", [1e-6, 1e-3])
@pytest.mark.parametrize(("prediction", "target"), [(0.0, 1.0), (1.0, 0.0)])
def test_the_worst_prediction_costs_what_is_documented_and_is_pulled_back(
    name, epsilon, prediction, target
):
    at = row(prediction, dtype=torch.float32).requires_grad_()
    loss = build(name, epsilon=epsilon)(at, row(target, dtype=torch.float32))
    loss.backward()
    assert loss.item() == pytest.approx(1 - math.log(epsilon), rel=2e-3)
    assert at.grad.item() == pytest.approx((prediction - target) / epsilon, rel=1e-2)


def test_bce_is_exact_down_to_epsilon_and_smooth_there():
    loss = build("bce", epsilon=1e-3)
    assert loss(row(0.001001), row(1)).item() == pytest.approx(-math.log(0.001001), rel=1e-12)
    above, below = loss(row(1e-3 + 1e-9), row(1)), loss(row(1e-3 - 1e-9), row(1))
    assert (below - above).item() == pytest.approx(2e-6, rel=1e-3)  # 2e-9 at a slope of 1 / 1e-3


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_focal_is_the_published_loss_for_a_hard_target(gamma, alpha):
    prediction, target = batch(2, 2, 4, 5)
    target = (target > 0.5).double()
    p, y = prediction.numpy(), target.numpy()
    p_t = np.where(y == 1, p, 1 - p)
    weight = 1 if alpha is None else np.where(y == 1, alpha, 1 - alpha)
    expected = (-weight * (1 - p_t) ** gamma * np.log(p_t)).mean()
    loss = build("focal", gamma=gamma, alpha=alpha)(prediction, target)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_of_a_soft_target_weighs_by_the_cross_entropy(gamma):
    prediction, target = batch(2, 2, 4, 5)
    ce = entropy(prediction.numpy(), target.numpy())
    expected = ((1 - np.exp(-ce)) ** gamma * ce).mean()
    loss = build("focal", gamma=gamma)(prediction, target)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def tversky(p, y, delta, s):
    tp, fn, fp = (p * y).sum(), (y * (1 - p)).sum(), ((1 - y) * p).sum()
    return 1 - (tp + s) / (tp + delta * fn + (1 - delta) * fp + s)


def unified(p, y, weight, delta, gamma, s):
    """Yeung et al. 2022 of one target, from their foreground and background channels."""
    focal = delta * -xlogy(y, p) + (1 - delta) * p**gamma * -xlogy(1 - y, 1 - p)
    foreground = tversky(p, y, delta, s) ** (1 - gamma)
    background = tversky(1 - p, 1 - y, delta, s)
    return weight * (foreground + background) / 2 + (1 - weight) * focal.mean()


@pytest.mark.parametrize("scope", ["batch", "sample"])
@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize(
    ("weight", "delta", "gamma"), [(0.5, 0.6, 0.5), (0.2, 0.7, 0.2), (0, 0.6, 0), (1, 0.4, 0.9)]
)
def test_unified_focal_is_the_published_formula(scope, smooth, weight, delta, gamma):
    prediction, target = batch(3, 2, 4, 5)
    fields = {"weight": weight, "delta": delta, "gamma": gamma, "smooth": smooth}
    loss = build("unified_focal", batch_dice=scope == "batch", **fields)(prediction, target)
    p, y = prediction.numpy(), target.numpy()
    samples = [slice(None)] if scope == "batch" else [slice(i, i + 1) for i in range(3)]
    sides = [(p[i, k], y[i, k]) for i in samples for k in (0, 1)]
    expected = np.mean([unified(*side, weight, delta, gamma, smooth) for side in sides])
    assert loss.item() == pytest.approx(expected, rel=1e-10)


def test_the_documented_minima_of_unified_focal_for_soft_targets():
    found = best(build("unified_focal", smooth=0.0), SOFT)
    assert found == pytest.approx([1, 0.680, 0.680, 0.205], abs=5e-4)
    focal = build("unified_focal", weight=0)
    assert [best(focal, (y,))[0] for y in (0.1, 0.5)] == pytest.approx([0.20, 0.60], abs=5e-3)


def test_the_documented_range_of_unified_focal():
    worst = build("unified_focal")(torch.zeros(1, 1, 100, 100), torch.ones(1, 1, 100, 100))
    assert 4.85 < worst.item() < 4.95


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "bce", "epsilon": 0},
        {"name": "bce", "epsilon": 1e-8},
        {"name": "focal", "gamma": -1},
        {"name": "focal", "alpha": 1},
        {"name": "unified_focal", "weight": 1.1},
        {"name": "unified_focal", "delta": 0},
        {"name": "unified_focal", "gamma": 1},
    ],
    ids=str,
)
def test_impossible_values_are_refused(spec):
    with pytest.raises(ValueError, match=spec["name"]):
        build(**spec)
