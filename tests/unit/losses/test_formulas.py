"""The formulas of losses: in numpy, golden values, special cases, documented minima and slopes."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import xlogy
from torch.nn import functional as F

from softseg import losses
from tests.support.losses import (
    CONTOUR,
    EVERY,
    SOFT,
    batch,
    build,
    combination,
    label,
    maps_for,
    minimizer,
    row,
)


def case_id(value):
    """The name of a function, or the value as text."""
    return getattr(value, "__name__", str(value))


# Formulas of one target's voxels p and y, with the smoothing s


def dice(p, y, s):
    return 1 - (2 * (p * y).sum() + s) / (p.sum() + y.sum() + s)


def dice_squared(p, y, s):
    return 1 - (2 * (p * y).sum() + s) / ((p**2).sum() + (y**2).sum() + s)


def dice_plus_plus(p, y, s, gamma):
    wrong = ((y * (1 - p)) ** gamma + ((1 - y) * p) ** gamma).sum()
    return 1 - (2 * (p * y).sum() + s) / (2 * (p * y).sum() + wrong + s)


def dml1(p, y, s):
    size, distance = p.sum() + y.sum(), np.abs(p - y).sum()
    return 1 - (size - distance + s) / (size + s)


def dml2(p, y, s):
    overlap, distance = 2 * (p * y).sum(), np.abs(p - y).sum()
    return 1 - (overlap + s) / (overlap + distance + s)


def jml1(p, y, s):
    size, distance = p.sum() + y.sum(), np.abs(p - y).sum()
    return 1 - (size - distance + 2 * s) / (size + distance + 2 * s)


def jml2(p, y, s):
    overlap, distance = (p * y).sum(), np.abs(p - y).sum()
    return 1 - (overlap + s) / (overlap + distance + s)


def tversky(p, y, s, fp_weight, fn_weight, intersection="product"):
    if intersection == "product":
        true, false, missed = p * y, p * (1 - y), y * (1 - p)
    else:  # as Wang et al. count, from L1 norms
        true = (p + y - np.abs(p - y)) / 2
        false, missed = p - true, y - true
    tp = true.sum()
    return 1 - (tp + s) / (tp + fp_weight * false.sum() + fn_weight * missed.sum() + s)


def focal_tversky(p, y, s, gamma, **fields):
    return tversky(p, y, s, **fields) ** (1 / gamma)


def unified_focal(p, y, s, weight, delta, gamma):
    """Yeung et al. 2022 of one target, from their foreground and background channels."""
    focal = delta * -xlogy(y, p) + (1 - delta) * p**gamma * -xlogy(1 - y, 1 - p)
    foreground = tversky(p, y, s, 1 - delta, delta) ** (1 - gamma)
    background = tversky(1 - p, 1 - y, s, 1 - delta, delta)
    return weight * (foreground + background) / 2 + (1 - weight) * focal.mean()


TVERSKY_FIELDS = [
    {"fp_weight": fp, "fn_weight": fn, "intersection": intersection}
    for intersection in ("product", "minimum")
    for fp, fn in ((0.3, 0.7), (0.7, 0.3), (1.0, 0.25))
]
OVERLAP_FORMULAS = [
    ("dice", {}, dice),
    ("dice_squared", {}, dice_squared),
    *[("dice++", {"gamma": gamma}, dice_plus_plus) for gamma in (1.0, 1.5, 2.0, 4.0)],
    ("dml1", {}, dml1),
    ("dml2", {}, dml2),
    ("jml1", {}, jml1),
    ("jml2", {}, jml2),
    *[("tversky", fields, tversky) for fields in TVERSKY_FIELDS],
    *[
        ("focal_tversky", {**fields, "gamma": gamma}, focal_tversky)
        for fields, gamma in product(TVERSKY_FIELDS, (4 / 3, 1.0, 0.5, 3.0))
    ],
    *[
        ("unified_focal", {"weight": weight, "delta": delta, "gamma": gamma}, unified_focal)
        for weight, delta, gamma in (
            (0.5, 0.6, 0.5),
            (0.2, 0.7, 0.2),
            (0, 0.6, 0),
            (1, 0.4, 0.9),
        )
    ],
]


@pytest.mark.parametrize(("name", "fields", "formula"), OVERLAP_FORMULAS, ids=case_id)
@pytest.mark.parametrize("smooth", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("batch_dice", [True, False])
def test_an_overlap_loss_is_the_mean_of_its_formula_over_targets(
    name, fields, formula, smooth, batch_dice
):
    prediction, target = batch(3, 2, 4, 5)
    loss = build(name, smooth=smooth, batch_dice=batch_dice, **fields)(prediction, target)
    p, y = prediction.numpy(), target.numpy()
    samples = [slice(None)] if batch_dice else [slice(i, i + 1) for i in range(3)]
    values = [formula(p[i, k], y[i, k], smooth, **fields) for i in samples for k in (0, 1)]
    assert loss.item() == pytest.approx(np.mean(values), rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=9),
    smooth=st.sampled_from([0.5, 1.0, 3.0]),
)
def test_dice_is_its_formula_for_any_voxels(values, smooth):
    p, y = (np.array(side) for side in zip(*values, strict=True))
    loss = build("dice", smooth=smooth)(row(*p), row(*y))
    assert loss.item() == pytest.approx(dice(p, y, smooth), abs=1e-12)


@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("batch_dice", [True, False])
def test_generalized_dice_is_the_published_formula_over_all_classes(smooth, background, batch_dice):
    """Sudre et al. 2017 of classes (L, N), with s in voxels of the smallest class."""

    def published(p, y):
        weight = 1 / y.sum(1) ** 2
        scale = smooth * weight.max()
        overlap, size = (weight * (p * y).sum(1)).sum(), (weight * (p + y).sum(1)).sum()
        return 1 - (2 * overlap + scale) / (size + scale)

    prediction, target = batch(3, 2, 4, 5)
    target[:, 1] *= 0.1
    fields = {"smooth": smooth, "background": background, "batch_dice": batch_dice}
    loss = build("generalized_dice", **fields)(prediction, target)
    p, y = (side.transpose(0, 1).reshape(2, 3, 20).numpy() for side in (prediction, target))
    if background:
        p, y = (np.concatenate([side, 1 - side]) for side in (p, y))
    parts = [slice(None)] if batch_dice else [slice(i, i + 1) for i in range(3)]
    sides = ((p[:, i].reshape(len(p), -1), y[:, i].reshape(len(y), -1)) for i in parts)
    assert loss.item() == pytest.approx(np.mean([published(*side) for side in sides]), rel=1e-10)


# Formulas of single voxels


def wing(d, omega, epsilon):
    """Feng et al. 2018, as it is printed."""
    beyond = d - (omega - omega * math.log(1 + omega / epsilon))
    return np.where(d < omega, omega * np.log(1 + d / epsilon), beyond)


def huber(d, delta):
    return np.where(d <= delta, d**2 / 2, delta * (d - delta / 2))


def entropy(p, y):
    return -xlogy(y, p) - xlogy(1 - y, 1 - p)


VOXELWISE_FORMULAS = [
    ({"name": "mse"}, lambda p, y: (p - y) ** 2),
    ({"name": "l1"}, lambda p, y: np.abs(p - y)),
    ({"name": "huber"}, lambda p, y: huber(np.abs(p - y), 0.5)),
    ({"name": "huber", "delta": 0.2}, lambda p, y: huber(np.abs(p - y), 0.2)),
    ({"name": "huber", "delta": 1.0}, lambda p, y: (p - y) ** 2 / 2),
    ({"name": "wing"}, lambda p, y: wing(np.abs(p - y), 10, 2)),
    ({"name": "wing", "omega": 0.5, "epsilon": 0.1}, lambda p, y: wing(np.abs(p - y), 0.5, 0.1)),
    ({"name": "wing", "omega": 0.2, "epsilon": 1.0}, lambda p, y: wing(np.abs(p - y), 0.2, 1.0)),
    ({"name": "bce"}, entropy),
    *[
        (
            {"name": "focal", "gamma": gamma},
            lambda p, y, gamma=gamma: (1 - np.exp(-entropy(p, y))) ** gamma * entropy(p, y),
        )
        for gamma in (0.5, 2.0)
    ],
]


@pytest.mark.parametrize(("spec", "formula"), VOXELWISE_FORMULAS, ids=case_id)
def test_a_voxelwise_loss_is_the_mean_or_the_sum_of_its_formula(spec, formula):
    prediction, target = batch(2, 2, 4, 5)
    expected = formula(prediction.numpy(), target.numpy())
    assert build(**spec)(prediction, target).item() == pytest.approx(expected.mean(), rel=1e-12)
    total = build(**spec, reduction="sum")(prediction, target)
    assert total.item() == pytest.approx(expected.sum(), rel=1e-12)


def test_bce_is_that_of_torch():
    prediction, target = batch(2, 2, 4, 5)
    expected = F.binary_cross_entropy(prediction, target).item()
    assert build("bce")(prediction, target).item() == pytest.approx(expected)


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


# Adaptive Wing: target, prediction, loss, gradient; computed with 40 digits for the paper's
# parameters
ADAPTIVE_WING = [
    (0, 0.1, 0.0632952044275605, 1.32395488685549),
    (0, 0.4, 1.09015788046442, 5.35049642482209),
    (0, 0.5, 1.67727719227928, 6.35509808457011),
    (0, 1, 4.85482623456434, 6.35509808457011),
    (0.25, 1, 3.56551462282522, 6.42779329114719),
    (0.3, 0.25, 0.0363286732789649, -1.30486723971297),
    (0.5, 0.5, 0, 0),
    (0.5, 0.9, 1.6615228099708, 6.00132561437626),
    (0.5, 0, 2.28069151984353, -6.35009912239761),
    (0.7, 1, 1.36023894829143, 5.83745426359568),
    (0.9, 0.2, 4.05540837060727, -5.82277526444021),
    (1, 0.99, 0.0503180113727058, -5.51761086046178),
    (1, 0.9, 0.611485917904392, -6.47570493834647),
    (1, 0.6, 2.48910305948566, -5.8825172018767),
    (1, 0.5, 3.06311886212123, -5.59877120319863),
    (1, 0, 5.86250446372054, -5.59877120319863),
]
# target, and the slope A and offset C of the line A d - C that the loss is from theta on
ADAPTIVE_WING_LINES = [
    (0, 6.35509808457011, 1.50027185000577),
    (0.25, 6.42779329114719, 1.25533034553518),
    (0.3, 6.42541286028275, 1.19310983008193),
    (0.5, 6.35009912239761, 0.894358041355277),
    (0.7, 6.15551047274229, 0.507297527494313),
    (0.9, 5.82277526444021, 0.0205343145008814),
    (1, 5.59877120319863, -0.26373326052191),
]


def value_and_slope(loss, prediction, target, dtype=torch.float64):
    """The loss of one voxel, and its gradient."""
    at = row(float(prediction), dtype=dtype).requires_grad_()
    value = loss(at, row(float(target), dtype=dtype))
    value.backward()
    return value.item(), at.grad.item()


@pytest.mark.parametrize(("target", "prediction", "loss", "gradient"), ADAPTIVE_WING)
def test_golden_values_of_adaptive_wing(target, prediction, loss, gradient):
    wing = build("adaptive_wing")
    found = value_and_slope(wing, prediction, target)
    assert found == pytest.approx((loss, gradient), abs=1e-12)
    found = value_and_slope(wing, prediction, target, torch.float32)
    assert found == pytest.approx((loss, gradient), rel=2e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("target", "prediction", "loss"),
    [(0, 0.1, 0.110766607748), (1, 0.9, 1.07010035633), (1, 0, 10.2593828115)],
)
def test_golden_values_of_adaptive_wing_with_the_original_omega(target, prediction, loss):
    value, _ = value_and_slope(build("adaptive_wing", omega=14.0), prediction, target)
    assert value == pytest.approx(loss, rel=1e-10)


@pytest.mark.parametrize(("target", "slope", "offset"), ADAPTIVE_WING_LINES)
@pytest.mark.parametrize("error", [0.75, -0.75, 2.0])
def test_golden_lines_of_large_errors_of_adaptive_wing(target, slope, offset, error):
    """The prediction need not be in [0, 1]."""
    value, gradient = value_and_slope(build("adaptive_wing"), target + error, target)
    assert abs(gradient) == pytest.approx(slope, abs=1e-12)
    assert abs(error) * slope - value == pytest.approx(offset, abs=1e-12)


def test_a_batch_of_adaptive_wing_is_averaged_or_summed():
    columns = (torch.tensor(c).double() for c in zip(*ADAPTIVE_WING, strict=True))
    target, prediction, values, _ = (column.view(2, 2, 2, 2) for column in columns)
    mean = build("adaptive_wing")(prediction, target)
    assert mean.item() == pytest.approx(values.mean().item())
    total = build("adaptive_wing", reduction="sum")(prediction, target)
    assert total.item() == pytest.approx(values.sum().item())


@pytest.mark.parametrize("target", [0, 0.25, 0.5, 0.99, 1])
@pytest.mark.parametrize("alpha", [2.0001, 2.1, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adaptive_wing_has_no_loss_and_no_gradient_at_the_target(target, alpha, dtype):
    value, gradient = value_and_slope(build("adaptive_wing", alpha=alpha), target, target, dtype)
    assert 0 <= value < 1e-30
    assert gradient == 0


@pytest.mark.parametrize("fields", [{"epsilon": 1e-6}, {"epsilon": 1e-6, "alpha": 20.0}])
@pytest.mark.parametrize("prediction", [0.0, 1e-30, 1e-9, 0.2, 0.9, 1.0])
@pytest.mark.parametrize("target", [0, 1])
def test_adaptive_wing_with_extreme_parameters_is_finite_in_float32(fields, prediction, target):
    """The largest is 8 (20 ln(theta / epsilon) + 20 / theta * 0.5) = 2259.6."""
    loss = build("adaptive_wing", **fields)
    value, gradient = value_and_slope(loss, prediction, target, torch.float32)
    assert 0 <= value < 2260
    assert abs(gradient) < float("inf")


def test_adaptive_wing_of_a_prediction_far_away_has_the_slope_of_the_line():
    """An unbounded prediction must not overflow the power that only small errors need."""
    found = value_and_slope(build("adaptive_wing"), 1e20, 0, torch.float32)
    assert found == pytest.approx((6.35509808e20, 6.35509808), rel=1e-6)


@pytest.mark.parametrize("target", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0])
def test_adaptive_wing_and_its_slope_are_continuous_at_theta(target, epsilon):
    loss, theta = build("adaptive_wing", epsilon=epsilon, theta=0.4), 0.4
    sign = -1 if target > 0.5 else 1
    below = value_and_slope(loss, target + sign * (theta - 1e-9), target)
    above = value_and_slope(loss, target + sign * (theta + 1e-9), target)
    assert below == pytest.approx(above, rel=1e-6)


# The soft target (1, .6, .6, .3): the loss of the target itself, of a hard mask and of half the
# target. Computed from the printed formulas, apart from the code; those of the Dice and Jaccard
# family by hand: of the mask, sum p = 3, sum p y = 2.2, sum |p - y| = 1.1.
TARGET, MASK, HALF = row(*SOFT), row(1, 1, 1, 0), row(*SOFT) / 2
VOXELWISE_COSTS = [
    ({"name": "adaptive_wing"}, (0, 1.11892371, 1.43902430)),
    ({"name": "wing"}, (0, 1.26101264, 1.43747024)),
    ({"name": "mse"}, (0, 0.1025, 0.113125)),
    ({"name": "l1"}, (0, 0.275, 0.3125)),
    ({"name": "huber"}, (0, 0.05125, 0.0565625)),
    ({"name": "bce"}, (0.489221909, 4.0742654, 0.776538437)),
    ({"name": "focal"}, (0.112650213, 4.03253233, 0.230114367)),
]
OVERLAP_COSTS = [  # without smoothing
    ({"name": "dice"}, (0.276, 0.2, 0.517333333)),
    ({"name": "dice_squared"}, (0, 0.0852390852, 0.2)),
    ({"name": "dml1"}, (0, 0.2, 0.333333333)),
    ({"name": "dml2"}, (0, 0.2, 0.408496732)),
    ({"name": "jml1"}, (0, 0.333333333, 0.5)),
    ({"name": "jml2"}, (0, 0.333333333, 0.580046404)),
    ({"name": "tversky"}, (0.276, 0.169811321, 0.574117647)),
    # the soft Jaccard loss
    ({"name": "tversky", "fp_weight": 1, "fn_weight": 1}, (0.432601881, 0.333333333, 0.681898067)),
    ({"name": "tversky", "intersection": "minimum"}, (0, 0.169811321, 0.411764706)),
    ({"name": "focal_tversky"}, (0.380786735, 0.264530029, 0.659554476)),
    ({"name": "focal_tversky", "intersection": "minimum"}, (0, 0.264530029, 0.514028074)),
    ({"name": "generalized_dice"}, (0.391, 0.333928571, 0.471142857)),
    ({"name": "generalized_dice", "background": False}, (0.276, 0.2, 0.517333333)),
    ({"name": "dice++"}, (0.0808916874, 0.0852390852, 0.281075606)),
    ({"name": "unified_focal"}, (0.354630741, 1.1489369, 0.50365427)),
]
# by hand: distances to the contour are -2.5, -1.5, -.5, .5 (-2, -1, 0, 1; -3, -2, -1, 1 pixels)
CONTOUR_COSTS = [
    ({"name": "boundary"}, (-0.8875, -1.125, -0.44375)),
    ({"name": "boundary", "convention": "published"}, (-2.3 / 4, -3 / 4, -1.15 / 4)),
    ({"name": "region_wise"}, (-0.15, -0.375, 0.05)),
    ({"name": "region_wise", "background": False}, (-1.3 / 4, -2 / 4, -0.65 / 4)),
    ({"name": "region_wise", "map": "boundary"}, (-4 / 8, -7 / 8, 0.5 / 8)),
    ({"name": "region_wise", "map": "active_contour"}, (1.38 / 8, 1.1 / 8, 1.94 / 8)),
]
COSTS = [
    *VOXELWISE_COSTS,
    *[({**spec, "smooth": 0.0}, costs) for spec, costs in OVERLAP_COSTS],
    *CONTOUR_COSTS,
]


@pytest.mark.parametrize(("spec", "costs"), COSTS, ids=str)
def test_golden_values_of_a_soft_target(spec, costs):
    loss = losses.build(spec)
    maps = maps_for(loss, TARGET)
    found = [loss(prediction, TARGET, maps).item() for prediction in (TARGET, MASK, HALF)]
    assert found == pytest.approx(list(costs), rel=1e-7, abs=1e-9)


def test_every_loss_has_golden_values():
    tested = [label(spec) for spec, _ in VOXELWISE_COSTS + OVERLAP_COSTS + CONTOUR_COSTS]
    with_fields = {"focal-0.5-0.25"}
    assert {label(spec) for spec in EVERY + CONTOUR} - with_fields <= set(tested)


def test_golden_values_of_the_mixture_of_cross_entropy_and_dice_semimetric():
    """Wang et al. 2023 train with a quarter of the first and three quarters of the second."""
    loss = losses.build(
        combination(({"name": "bce"}, 0.25), ({"name": "dml1", "smooth": 0.0}, 0.75))
    )
    found = [loss(prediction, TARGET).item() for prediction in (TARGET, MASK, HALF)]
    assert found == pytest.approx([0.1223054773, 1.16856635, 0.4441346093], rel=1e-8)


# The minimum for a soft target, where it is not the target


def hard_masks(count):
    return list(product((0.0, 1.0), repeat=count))


@pytest.mark.parametrize("name", ["dice", "generalized_dice"])
def test_the_mask_that_dice_prefers_is_a_fifth_larger_than_the_soft_target(name):
    loss = build(name, smooth=0.0)
    values = {mask: loss(row(*mask), TARGET).item() for mask in hard_masks(4)}
    best = min(values, key=values.get)
    assert best == (1, 1, 1, 0)
    assert sum(best) / sum(SOFT) == pytest.approx(1.2)
    assert values[best] < loss(TARGET, TARGET).item()


@settings(max_examples=40, deadline=None)
@given(target=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5))
def test_dice_takes_a_voxel_above_half_the_best_dice_and_leaves_every_other(target):
    """The documented rule, against all masks."""
    loss, y = build("dice", smooth=0.0), row(*target)
    best = min(loss(row(*mask), y).item() for mask in hard_masks(len(target)) if any(mask))
    rule = [float(value > (1 - best) / 2) for value in target]
    assert loss(row(*rule), y).item() == pytest.approx(best, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(y=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=4), seed=st.integers(0, 2**31))
@pytest.mark.parametrize("name", ["dice", "tversky", "focal_tversky"])
def test_with_a_product_as_intersection_some_hard_mask_is_best(name, y, seed):
    """Whatever the soft target: hence these losses are not minimized at it."""
    loss, target = build(name, smooth=0.0), row(*y)
    best = min(loss(row(*mask), target).item() for mask in hard_masks(len(y)) if any(mask))
    generator = torch.Generator().manual_seed(seed)
    gray = row(*torch.rand(len(y), generator=generator).tolist())
    assert best <= loss(gray, target).item() + 1e-12
    assert best < loss(target, target).item()


@pytest.mark.parametrize(
    ("name", "documented"),
    [("dice++", [1, 0.781, 0.781, 0.195]), ("unified_focal", [1, 0.680, 0.680, 0.205])],
)
def test_the_documented_minimum_of_a_soft_target(name, documented):
    assert minimizer(build(name, smooth=0.0), SOFT) == pytest.approx(documented, abs=5e-4)


def test_the_documented_minima_of_the_focal_part_of_unified_focal():
    focal = build("unified_focal", weight=0)
    found = [minimizer(focal, (y,))[0] for y in (0.1, 0.5)]
    assert found == pytest.approx([0.20, 0.60], abs=5e-3)


# Special cases: one loss equals another, in value and gradient

JACCARD = {"name": "tversky", "fp_weight": 1.0, "fn_weight": 1.0}
SMOOTHED_EQUALS = [  # loss, another loss, factor of its smoothing, only for a hard target?
    ({"name": "dice++", "gamma": 1.0}, {"name": "dice"}, 1, False),
    ({"name": "dice++"}, {"name": "dice_squared"}, 1, True),
    ({"name": "dml1"}, {"name": "dice"}, 1, True),
    ({"name": "dml2"}, {"name": "dice"}, 1, True),
    ({"name": "jml1"}, JACCARD, 1, True),
    ({"name": "jml2"}, JACCARD, 1, True),
    ({"name": "tversky", "fp_weight": 0.5, "fn_weight": 0.5}, {"name": "dice"}, 2, False),
    (
        {"name": "tversky", "fp_weight": 0.5, "fn_weight": 0.5, "intersection": "minimum"},
        {"name": "dml1"},
        2,
        False,
    ),
    ({**JACCARD, "intersection": "minimum"}, {"name": "jml1"}, 1, False),
]


@pytest.mark.parametrize(("spec", "other", "factor", "hard"), SMOOTHED_EQUALS, ids=str)
@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_special_cases(spec, other, factor, hard, smooth):
    prediction, target = batch(2, 2, 4, 5)
    if hard:
        target = (target > 0.6).double()
    found = []
    for each, s in ((spec, smooth), (other, factor * smooth)):
        at = prediction.clone().requires_grad_()
        value = losses.build({**each, "smooth": s})(at, target)
        value.backward()
        found.append((value.item(), at.grad))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    torch.testing.assert_close(found[0][1], found[1][1])


@pytest.mark.parametrize("name", ["jml1", "jml2"])
def test_for_a_hard_target_a_jml_is_the_soft_jaccard_loss(name):
    prediction, target = batch(1, 1, 4, 5)
    target = (target > 0.6).double()
    overlap = (prediction * target).sum()
    jaccard = overlap / (prediction.sum() + target.sum() - overlap)
    assert build(name, smooth=0.0)(prediction, target).item() == pytest.approx(1 - jaccard.item())


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_generalized_dice_of_one_target_without_its_background_is_dice(smooth):
    prediction, target = batch(2, 1, 4, 5)
    loss = build("generalized_dice", background=False, smooth=smooth)(prediction, target)
    assert loss.item() == pytest.approx(build("dice", smooth=smooth)(prediction, target).item())


def test_the_published_dice_loss_is_ours_minus_one():
    """-(2 * 1.5 + 1) / (2 + 2.5 + 1), with the smoothing of 1 that is the default."""
    loss = build("dice")(row(1, 0.5, 0.5), row(1, 1, 0.5))
    assert loss.item() - 1 == pytest.approx(-4.5 / 5.5)


def test_by_default_tversky_makes_a_missed_voxel_cost_more_than_a_false_one():
    """Salehi's weights: 1 hit and 1 miss cost .7 / 1.7, 1 hit and 1 false alarm .3 / 1.3."""
    loss = build("tversky", smooth=0.0)
    assert loss(row(1, 0, 0), row(1, 1, 0)).item() == pytest.approx(0.7 / 1.7)
    assert loss(row(1, 1, 0), row(1, 0, 0)).item() == pytest.approx(0.3 / 1.3)


def test_by_default_the_exponent_of_focal_tversky_is_three_quarters():
    loss = build("focal_tversky", smooth=0.0)
    assert loss(row(1, 0), row(1, 1)).item() == pytest.approx((0.7 / 1.7) ** 0.75)


# Several samples and targets


def test_dice_of_an_empty_sample_counts_separately_only_per_sample():
    prediction = torch.cat([row(1, 0), row(1, 0)])
    target = torch.cat([row(1, 0), row(0, 0)])
    assert build("dice", smooth=0.0)(prediction, target).item() == pytest.approx(1 - 2 / 3)
    per_sample = build("dice", smooth=0.0, batch_dice=False)
    assert per_sample(prediction, target).item() == pytest.approx(0.5)


def test_each_target_has_its_own_dice():
    """One right and large, one missed and small: half, not the large one's."""
    prediction, target = torch.ones(1, 2, 10, 10), torch.ones(1, 2, 10, 10)
    prediction[:, 1], target[:, 1] = 0, 0
    target[:, 1, 0, 0] = 1
    assert build("dice", smooth=0.0)(prediction, target).item() == pytest.approx(0.5)


def test_generalized_dice_weighs_a_small_target_more_than_as_much_of_a_large_one():
    target = torch.zeros(1, 2, 10, 10)
    target[0, 0, :8], target[0, 1, 9, :4] = 1, 1
    small_missed, large_missed = target.clone(), target.clone()
    small_missed[0, 1], large_missed[0, 0, 0, :4] = 0, 0
    loss = build("generalized_dice")
    assert loss(small_missed, target) > 0.3 > 0.02 > loss(large_missed, target)


def test_generalized_dice_of_an_empty_target_is_the_predicted_share():
    """Only the background is left to weigh: 1 - 2 (N - P) / (2 N) = P / N, so it can be learned."""
    prediction = torch.rand(1, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    loss = build("generalized_dice", smooth=0.0)(prediction, torch.zeros(1, 1, 5, 5))
    loss.backward()
    assert loss.item() == pytest.approx(prediction.mean().item())
    torch.testing.assert_close(prediction.grad, torch.full_like(prediction, 1 / 25))


def test_in_generalized_dice_an_absent_class_does_not_outweigh_a_present_one():
    """A weight of infinity, or of 1 / epsilon, would make all of this loss the absent target's."""
    target = torch.zeros(1, 2, 10, 10)
    target[0, 0, :3] = 1
    prediction = torch.full_like(target, 0.01).requires_grad_()
    build("generalized_dice")(prediction, target).backward()
    present, absent = prediction.grad[0].abs().amax(dim=(1, 2))
    assert 0.5 < present / absent < 200


@pytest.mark.parametrize("name", ["dice_squared", "dml1", "dml2", "jml1", "jml2"])
def test_with_smoothing_the_loss_of_an_empty_target_falls_with_the_prediction(name):
    target = torch.zeros(1, 1, 4, 4)
    values = [build(name)(torch.full((1, 1, 4, 4), p), target).item() for p in (1, 0.5, 0.1, 0)]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] == 0


# Documented gradients and ranges


def test_the_documented_gradient_of_dice():
    prediction = TARGET.clone().requires_grad_()
    build("dice")(prediction, row(1, 1, 0, 0)).backward()
    total = 2.5 + 2 + 1
    score = (2 * 1.6 + 1) / total
    expected = (score - 2 * row(1, 1, 0, 0)) / total
    torch.testing.assert_close(prediction.grad, expected)


def pull(name, error):
    """The gradient of one voxel of the soft target that is predicted with an error."""
    at = (TARGET + row(0, error, 0, 0)).requires_grad_()
    build(name)(at, TARGET).backward()
    return at.grad[0, 0, 0, 1].item()


@pytest.mark.parametrize(
    ("name", "documented"),
    [("dml1", 1 / 6), ("dml2", 1 / (2 * 1.81 + 1)), ("jml1", 1 / 3.5), ("jml2", 1 / 2.81)],
)
def test_the_documented_pull_of_semimetric_losses_next_to_the_target(name, documented):
    """The sum of the target is 2.5, of its squares 1.81; s is 1."""
    assert pull(name, 1e-9) == pytest.approx(documented, rel=1e-6)
    assert pull(name, -1e-9) == pytest.approx(-documented, rel=1e-6)


def test_squared_dice_pulls_in_proportion_to_the_error():
    assert pull("dice_squared", 2e-6) == pytest.approx(2 * pull("dice_squared", 1e-6), rel=1e-4)
    assert pull("dice_squared", 1e-6) == pytest.approx(2e-6 / (2 * 1.81 + 1), rel=1e-4)


def test_focal_tversky_is_finite_on_the_way_to_its_minimum():
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
    ("fields", "error", "documented"),
    [
        ({}, 1e-9, 5),
        ({}, 1.0, 10 / 3),
        ({"omega": 0.5, "epsilon": 0.1}, 1e-9, 5),
        ({"omega": 0.5, "epsilon": 0.1}, 0.4999, 0.5 / 0.5999),
        ({"omega": 0.5, "epsilon": 0.1}, 0.5001, 1),
    ],
)
def test_the_documented_slopes_of_wing(fields, error, documented):
    _, slope = value_and_slope(build("wing", **fields), error, 0)
    assert slope == pytest.approx(documented, rel=1e-6)


@pytest.mark.parametrize("name", ["wing", "l1"])
def test_next_to_the_target_the_slope_of_an_absolute_error_does_not_vanish(name):
    below, at, above = (value_and_slope(build(name), p, 0.4)[1] for p in (0.399999, 0.4, 0.400001))
    assert at == 0
    assert above == pytest.approx(-below, rel=1e-5)
    assert above >= 0.99


@pytest.mark.parametrize("name", ["bce", "focal"])
@pytest.mark.parametrize("epsilon", [1e-6, 1e-3])
@pytest.mark.parametrize(("prediction", "target"), [(0.0, 1.0), (1.0, 0.0)])
def test_the_documented_loss_and_slope_of_the_worst_prediction(name, epsilon, prediction, target):
    loss = build(name, epsilon=epsilon)
    value, slope = value_and_slope(loss, prediction, target, torch.float32)
    assert value == pytest.approx(1 - math.log(epsilon), rel=2e-3)
    assert slope == pytest.approx((prediction - target) / epsilon, rel=1e-2)


def test_bce_is_exact_down_to_epsilon_and_smooth_there():
    loss = build("bce", epsilon=1e-3)
    assert loss(row(0.001001), row(1)).item() == pytest.approx(-math.log(0.001001), rel=1e-12)
    above, below = loss(row(1e-3 + 1e-9), row(1)), loss(row(1e-3 - 1e-9), row(1))
    assert (below - above).item() == pytest.approx(2e-6, rel=1e-3)  # 2e-9 at a slope of 1 / 1e-3


def test_the_documented_ranges():
    assert build("wing")(row(1), row(0)).item() == pytest.approx(4.055, abs=5e-4)
    assert build("huber")(row(1), row(0)).item() == pytest.approx(0.375)
    worst = build("unified_focal")(torch.zeros(1, 1, 100, 100), torch.ones(1, 1, 100, 100))
    assert 4.85 < worst.item() < 4.95
