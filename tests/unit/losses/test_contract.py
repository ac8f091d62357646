"""What every loss must satisfy, whatever its formula: one test for the whole family."""

from __future__ import annotations

import re
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from softseg import losses
from softseg.models import heads
from tests.support.losses import (
    CONTOUR,
    EVERY,
    HARD_OVERLAP,
    OVERLAP,
    REGRESSION,
    ROW,
    SOFT,
    SOFT_OVERLAP,
    VALID_FOR_SOFT,
    VOXEL,
    batch,
    build,
    combination,
    label,
    maps_for,
    row,
    scene,
)

ALL_COMBINED = combination(*[(spec, 0.1) for spec in [*EVERY, *CONTOUR]])
UNSMOOTHED = [{**spec, "smooth": 0.0} for spec in OVERLAP]
PER_SAMPLE = [{**spec, "batch_dice": False} for spec in OVERLAP]
VALID_COMBINATIONS = [
    combination(({"name": "bce"}, 0.25), ({"name": "dml1"}, 0.75)),
    combination(({"name": "adaptive_wing"}, 1.0), ({"name": "jml2"}, 0.5), ({"name": "mse"}, 2.0)),
]
TARGETS = ["discs", "empty", "full", "gray"]


def spec_id(spec):
    """A readable test id; of a combination, its losses."""
    if spec["name"] != "combination":
        return label(spec)
    names = [term["loss"]["name"] for term in spec["terms"]]
    return "all-combined" if len(names) > 3 else "+".join(names)


def for_each(specs):
    return pytest.mark.parametrize("spec", specs, ids=spec_id)


every = for_each(EVERY + CONTOUR)
every_and_all_combined = for_each([*EVERY, *CONTOUR, ALL_COMBINED])
valid = for_each(VALID_FOR_SOFT + VALID_COMBINATIONS)


def batch_with_maps(loss, *shape):
    """A random prediction and target, and the maps that the loss requires of the target."""
    prediction, target = batch(*shape)
    return prediction, target, maps_for(loss, target)


# the family


def test_the_specs_of_these_tests_are_the_whole_family():
    mapping = TypeAdapter(losses.Loss).json_schema()["discriminator"]["mapping"]
    assert set(mapping) == {spec["name"] for spec in EVERY + CONTOUR} | {"combination"}


@every
def test_a_loss_is_an_attribute_of_the_package_by_its_class_name(spec):
    loss = losses.build(spec)
    assert getattr(losses, type(loss).__name__) is type(loss)


def test_the_package_has_no_other_attributes():
    with pytest.raises(AttributeError, match="'Dise'"):
        _ = losses.Dise


@every
def test_an_unknown_parameter_is_rejected(spec):
    assert losses.build(spec).name == spec["name"]
    with pytest.raises(ValidationError, match="Extra inputs"):
        losses.build({**spec, "sharpness": 1})


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "dice", "reduction": "none"},
        {"name": "dice", "smooth": -1},
        {"name": "dice", "alpha": 2.1},
        {"name": "dice++", "gamma": 0.5},
        {"name": "adaptive_wing", "alpha": 2},
        {"name": "adaptive_wing", "theta": 0},
        {"name": "adaptive_wing", "epsilon": 0},
        {"name": "adaptive_wing", "omega": -8},
        {"name": "wing", "omega": 0},
        {"name": "wing", "epsilon": 0},
        {"name": "huber", "delta": 0},
        {"name": "huber", "delta": -0.5},
        {"name": "mse", "smooth": 1},
        {"name": "l1", "batch_dice": False},
        {"name": "bce", "epsilon": 0},
        {"name": "bce", "epsilon": 1e-8},
        {"name": "focal", "gamma": -1},
        {"name": "focal", "alpha": 1},
        {"name": "unified_focal", "weight": 1.1},
        {"name": "unified_focal", "delta": 0},
        {"name": "unified_focal", "gamma": 1},
        {"name": "tversky", "fp_weight": 0},
        {"name": "tversky", "fn_weight": -1},
        {"name": "tversky", "alpha": 0.3},
        {"name": "tversky", "intersection": "l2"},
        {"name": "tversky", "gamma": 2},
        {"name": "focal_tversky", "gamma": 0},
    ],
    ids=label,
)
def test_an_impossible_value_is_rejected_and_its_field_named(spec):
    name, field = spec["name"], list(spec)[-1]
    with pytest.raises(ValidationError, match=rf"\n{re.escape(name)}\.{field}\n"):
        losses.build(spec)


def test_an_unknown_name_is_rejected():
    with pytest.raises(ValidationError, match="'dise'"):
        losses.build({"name": "dise"})


@every
def test_a_single_loss_is_the_same_in_every_epoch(spec):
    loss = losses.build(spec)
    assert loss.at(0) == loss.at(99) == loss


# inputs


@every
def test_shapes_that_would_broadcast_are_rejected(spec):
    loss, prediction = losses.build(spec), torch.zeros(2, 1, 4, 4)
    maps = {kind: torch.zeros(2, 1, 4, 4) for kind in loss.required_maps}
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 4\).*\(2, 2, 4, 4\)"):
        loss(prediction, torch.zeros(2, 2, 4, 4), maps)


@pytest.mark.parametrize(("target", "distance"), [(ROW[0], ROW), (ROW, ROW[..., :1])])
def test_targets_and_maps_that_would_broadcast_are_rejected(target, distance):
    with pytest.raises(ValueError, match=r"prediction \(1, 1, 1, 10\) and .* differ in shape"):
        build("boundary")(ROW, target, {"half_pixel": distance})


def test_a_missing_map_is_named():
    with pytest.raises(ValueError, match="'half_pixel'; given: none"):
        build("boundary")(ROW, ROW)
    with pytest.raises(ValueError, match="'rrw_background'; given: rrw"):
        build("region_wise")(ROW, ROW, {"rrw": ROW})


@pytest.mark.parametrize("wrong", [-0.01, 1.01, 255.0, float("nan"), float("inf")])
def test_adaptive_wing_rejects_targets_outside_0_to_1(wrong):
    target = torch.zeros(2, 1, 3, 3)
    target[1, 0, 2, 1] = wrong
    with pytest.raises(ValueError, match=r"targets in \[0, 1\]"):
        build("adaptive_wing")(torch.zeros(2, 1, 3, 3), target)


@pytest.mark.parametrize("rounded", [-1e-7, 1 + 2e-7])
def test_adaptive_wing_clamps_targets_that_interpolation_rounded(rounded):
    def value_and_gradient(prediction, target):
        at = row(prediction).requires_grad_()
        value = build("adaptive_wing")(at, row(target))
        value.backward()
        return value.item(), at.grad.item()

    bound = round(rounded)
    for prediction in (0.5, bound):
        assert value_and_gradient(prediction, rounded) == value_and_gradient(prediction, bound)


@pytest.mark.parametrize("gamma", [1.0, 1.3, 2.0])
def test_dice_plus_plus_is_finite_for_targets_that_interpolation_rounded(gamma):
    prediction = row(1.0, 0.5, 0.0, dtype=torch.float32).requires_grad_()
    loss = build("dice++", gamma=gamma)(prediction, torch.full((1, 1, 1, 3), 1 + 2e-7))
    loss.backward()
    assert loss.isfinite()
    assert prediction.grad.isfinite().all()


@every
def test_no_gradient_flows_into_target_and_maps(spec):
    loss = losses.build(spec)
    prediction, target, maps = batch_with_maps(loss, 1, 2, 4, 4)
    for tensor in (prediction, target, *maps.values()):
        tensor.requires_grad_()
    loss(prediction, target, maps).backward()
    assert prediction.grad.abs().sum() > 0
    assert target.grad is None
    assert all(values.grad is None for values in maps.values())


# precision


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_reduced_precision_is_computed_in_float32(spec, dtype):
    """Also near the bounds: 0.998 and 1 - 0.002 round in bfloat16, by up to 0.4 %."""
    loss, discs = losses.build(spec), scene("discs")
    for prediction, target in (batch(2, 1, 8, 8), (discs * 0.9 + 0.002, discs)):
        prediction, target = prediction.to(dtype), target.to(dtype)
        maps = maps_for(loss, target)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = loss(prediction, target, maps)
        exact = loss(prediction.double(), target.double(), maps)
        assert result.dtype == torch.float32
        assert exact.dtype == torch.float64
        assert result.item() == pytest.approx(exact.item(), rel=1e-5)


def test_a_loss_is_computed_without_autocast():
    """Which would compute a matrix product, say, in bfloat16 whatever the type of its factors."""

    class Autocast(losses.Mse):
        def forward(self, prediction, target):
            return prediction * 0 + torch.is_autocast_enabled("cpu")

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Autocast()(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2)) == 0


@pytest.mark.parametrize("name", ["adaptive_wing", "mse", "wing"])
@pytest.mark.parametrize(("prediction", "target"), [(0.03, 0.0), (0.498, 0.5)])
def test_small_errors_survive_bfloat16(name, prediction, target):
    """In bfloat16 1 + x rounds to 1 for x < 2**-8, so a logarithm of it would be 0."""
    prediction, target = (row(value, dtype=torch.bfloat16) for value in (prediction, target))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = build(name)(prediction, target)
    exact = build(name)(prediction.double(), target.double())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-6 if name == "mse" else 1e-5)
    assert loss.item() > 0


def test_a_sum_over_a_slice_does_not_round_or_overflow_in_float16():
    """128 x 128 voxels of 1.0896 each; float16 itself counts them in steps of 16."""
    prediction = torch.full((1, 1, 128, 128), 0.4, dtype=torch.float16)
    total = build("adaptive_wing", reduction="sum")(prediction, torch.zeros_like(prediction))
    assert total.item() == pytest.approx(17852.6, abs=0.05)


# finite values and gradients


@for_each([*EVERY, *UNSMOOTHED, *CONTOUR, ALL_COMBINED])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_constant_predictions_have_finite_values_and_gradients(spec, dtype):
    """For targets that are constant, empty or full too; without and, in bfloat16, with autocast."""
    loss = losses.build(spec)
    levels = (0, 1e-40, 1e-7, 0.5, 1)
    targets = [torch.full((3, 2, 4, 5), level) for level in levels] + [scene("discs")]
    for level, target in product(levels, targets):
        prediction = torch.full((3, 2, 4, 5), level, dtype=dtype, requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            value = loss(prediction, target.to(dtype), maps_for(loss, target))
        value.backward()
        assert value.dtype == torch.float32
        assert value.isfinite(), level
        assert value >= 0 or spec not in EVERY + UNSMOOTHED, level
        assert prediction.grad.isfinite().all(), level


@for_each(EVERY)
def test_a_mixture_of_zeros_ones_and_gray_has_a_finite_gradient(spec):
    pairs = torch.tensor(list(product((0, 0.25, 1), (0, 0.25, 1))))
    prediction, target = (pairs[:, side].view(1, 1, 3, 3).clone() for side in (0, 1))
    prediction.requires_grad_()
    losses.build(spec)(prediction, target).backward()
    assert prediction.grad.isfinite().all()
    assert prediction.grad.abs().sum() > 0


def through_head(loss, head, logits, target):
    """The loss, and its gradient with respect to the logits, of a head in training."""
    at = logits.clone().requires_grad_()
    prediction = heads.build(head, targets=2).train()(at)
    value = loss(prediction, target, maps_for(loss, target))
    value.backward()
    return value, at.grad


@for_each([*EVERY, *UNSMOOTHED, *CONTOUR, ALL_COMBINED])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_constant_and_dead_outputs_of_a_network_have_a_finite_loss_and_gradient(spec, dtype):
    loss = losses.build(spec)
    for case in product(("sigmoid", "normrelu"), TARGETS, (-1e4, -5.0, 0.0, 1e4)):
        head, target, logit = case
        logits = torch.full((3, 2, 4, 5), logit, dtype=dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            value, gradient = through_head(loss, {"name": head}, logits, scene(target))
        assert value.dtype == torch.float32, case
        assert value.isfinite(), case
        assert gradient.isfinite().all(), case


@every_and_all_combined
@pytest.mark.parametrize("logit", [-5.0, 0.0])
def test_no_gradient_flows_through_a_dead_normrelu(spec, logit):
    """Not even where a loss has its steepest slope: the network keeps its weights."""
    logits = torch.full((3, 2, 4, 5), logit)
    loss, head = losses.build(spec), {"name": "normrelu"}
    value, gradient = through_head(loss, head, logits, scene("discs"))
    assert value.isfinite()
    assert not gradient.any()


@every_and_all_combined
def test_a_single_positive_activation_of_normrelu_has_a_finite_gradient(spec):
    """NormReLU turns the faintest activation into a 1."""
    logits = torch.full((3, 2, 4, 5), -1.0)
    logits[0, :, 2, 2] = 1e-30
    loss, head = losses.build(spec), {"name": "normrelu"}
    for target in TARGETS:
        value, gradient = through_head(loss, head, logits, scene(target))
        assert value.isfinite(), target
        assert gradient.isfinite().all(), target


@every
@pytest.mark.parametrize("has_target", [True, False])
def test_a_prediction_of_nan_makes_the_loss_nan(spec, has_target):
    loss = losses.build(spec)
    prediction, target = batch(2, 1, 3, 3)
    prediction[0, 0, 1, 1] = torch.nan
    target = target * has_target
    assert loss(prediction, target, maps_for(loss, target)).isnan()


@for_each([*EVERY, *PER_SAMPLE, *CONTOUR, ALL_COMBINED])
def test_the_gradient_is_that_of_the_value(spec):
    loss = losses.build(spec)
    prediction, target = batch(2, 2, 4, 3)
    target[0, 0, 0], target[0, 0, 1] = 0, 1
    maps = maps_for(loss, target)
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: loss(p, target, maps), (prediction,))


# reduction


@for_each([*EVERY, *PER_SAMPLE, *CONTOUR])
def test_the_sum_is_the_mean_times_the_number_of_values(spec):
    loss, total = losses.build(spec), losses.build({**spec, "reduction": "sum"})
    prediction, target, maps = batch_with_maps(loss, 3, 2, 5, 4)
    count = 3 * 2 * 5 * 4
    if spec["name"] == "region_wise":
        count *= 2 if spec.get("background", True) else 1
    elif spec in OVERLAP + PER_SAMPLE:
        targets = 1 if spec["name"] == "generalized_dice" else 2
        count = targets * (3 if spec in PER_SAMPLE else 1)
    expected = count * loss(prediction, target, maps).item()
    assert total(prediction, target, maps).item() == pytest.approx(expected, rel=1e-12)


@for_each([*EVERY, *PER_SAMPLE, *CONTOUR])
def test_the_order_of_samples_is_irrelevant(spec):
    loss, order = losses.build(spec), [2, 0, 1]
    prediction, target, maps = batch_with_maps(loss, 3, 2, 4, 4)
    shuffled_maps = {kind: values[order] for kind, values in maps.items()}
    shuffled = loss(prediction[order], target[order], shuffled_maps)
    assert shuffled.item() == pytest.approx(loss(prediction, target, maps).item(), rel=1e-12)


@for_each(OVERLAP)
def test_per_sample_it_is_the_mean_over_samples(spec):
    prediction, target = batch(3, 2, 4, 4)
    prediction[0], target[1] = 0, 0
    loss = losses.build(spec)
    each = [loss(prediction[i : i + 1], target[i : i + 1]).item() for i in range(3)]
    together = losses.build({**spec, "batch_dice": False})(prediction, target)
    assert together.item() == pytest.approx(sum(each) / 3, rel=1e-12)


# minimum


@for_each(EVERY)
def test_a_hard_target_that_is_predicted_exactly_costs_nothing(spec):
    target = torch.zeros(2, 2, 4, 4)
    target[:, 0, 1:3, 1:3] = 1  # and nothing of the second target
    assert losses.build(spec)(target.clone(), target).item() == pytest.approx(0, abs=2e-4)


@for_each(OVERLAP)
@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize("batch_dice", [True, False])
def test_an_empty_prediction_of_an_empty_target_costs_nothing(spec, smooth, batch_dice):
    prediction = torch.zeros(2, 2, 3, 3, requires_grad=True)
    loss = losses.build({**spec, "smooth": smooth, "batch_dice": batch_dice})
    value = loss(prediction, torch.zeros(2, 2, 3, 3))
    value.backward()
    assert value.item() == 0
    assert prediction.grad.isfinite().all()


@for_each([*VALID_FOR_SOFT, *VALID_COMBINATIONS, *[{**s, "smooth": 0.0} for s in SOFT_OVERLAP]])
@settings(max_examples=60, deadline=None)
@given(
    voxels=st.lists(st.tuples(VOXEL, st.floats(0, 1)), min_size=1, max_size=6),
    step=st.sampled_from([1.0, 0.01]),
)
def test_a_soft_target_is_the_minimum_of_a_valid_loss(spec, voxels, step):
    """No prediction, near or far, is better than the target itself."""
    loss = losses.build(spec)
    target, other = (row(*side) for side in zip(*voxels, strict=True))
    prediction = target + step * (other - target)
    minimum = loss(target, target)
    assert loss(prediction, target) >= minimum - 1e-12
    if (prediction - target).abs().max() > 0.01:
        assert loss(prediction, target) > minimum


@for_each(SOFT_OVERLAP)
def test_a_valid_overlap_loss_is_exactly_zero_at_a_soft_target(spec):
    target = row(*SOFT)
    assert losses.build({**spec, "smooth": 0.0})(target, target).item() == 0


@for_each(VALID_FOR_SOFT)
def test_a_valid_loss_has_no_gradient_at_a_soft_target(spec):
    _, target = batch(2, 2, 4, 4)
    prediction = target.clone().requires_grad_()
    losses.build(spec)(prediction, target).backward()
    torch.testing.assert_close(prediction.grad, torch.zeros_like(target), atol=1e-12, rtol=0)


@valid
@settings(max_examples=20, deadline=None)
@given(voxels=st.lists(VOXEL, min_size=1, max_size=6))
def test_at_the_target_the_gradient_is_zero_or_pushes_against_a_bound(spec, voxels):
    """It may only ask for less than 0 where the target is 0, for more than 1 where it is 1."""
    target = row(*voxels)
    prediction = target.clone().requires_grad_()
    losses.build(spec)(prediction, target).backward()
    assert (prediction.grad[target > 0] <= 1e-12).all()
    assert (prediction.grad[target < 1] >= -1e-12).all()


@valid
@settings(max_examples=20, deadline=None)
@given(
    voxels=st.lists(st.tuples(st.floats(0.02, 0.98), st.booleans()), min_size=1, max_size=6),
    size=st.floats(1e-3, 0.02),
)
def test_near_the_target_the_gradient_points_away_from_it(spec, voxels, size):
    """So that a step against the gradient leads back, whatever the direction of the error."""
    values, signs = zip(*voxels, strict=True)
    target = row(*values)
    error = row(*(size if up else -size for up in signs))
    prediction = (target + error).requires_grad_()
    losses.build(spec)(prediction, target).backward()
    assert (prediction.grad * error).sum() > 0


@for_each(REGRESSION)
@settings(max_examples=50, deadline=None)
@given(target=st.floats(0, 1), prediction=st.floats(0, 1))
def test_the_slope_of_a_regression_loss_points_away_from_the_target(spec, target, prediction):
    loss, at = losses.build(spec), row(prediction).requires_grad_()
    value = loss(at, row(target))
    value.backward()
    assert value >= loss(row(target), row(target)) >= 0
    assert at.grad.item() * (prediction - target) >= 0


@for_each(HARD_OVERLAP)
def test_a_loss_that_is_not_valid_has_a_better_prediction_than_a_soft_target(spec):
    loss, target = losses.build({**spec, "smooth": 0.0}), row(*SOFT)
    sharper = [row(1, 1, 1, 0), row(1, 1, 1, 1), row(1, 0.7, 0.7, 0.2)]
    assert min(loss(p, target) for p in sharper) < loss(target, target) - 1e-3
    at = target.clone().requires_grad_()
    loss(at, target).backward()
    assert at.grad[0, 0, 0, 1:].abs().max() > 0.005


@pytest.mark.parametrize(
    "other", [{"name": "dice"}, {"name": "boundary"}, {"name": "region_wise"}], ids=label
)
def test_a_term_that_is_not_valid_moves_the_minimum_of_a_combination(other):
    """A small step towards the hard mask costs less than staying at the soft target."""
    loss = losses.build(combination(({"name": "mse"}, 1.0), (other, 0.5)))
    target = row(*SOFT)
    maps = maps_for(loss, target)
    sharper = target + 0.02 * (row(1, 1, 1, 0) - target)
    assert loss(sharper, target, maps) < loss(target, target, maps) - 1e-4


# on a GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@for_each(EVERY)
def test_on_a_gpu_no_loss_waits_for_the_device(spec):
    prediction, target = (side.cuda() for side in batch(2, 2, 8, 8, dtype=torch.float32))
    prediction.requires_grad_()
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses.build(spec)(prediction, target).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_a_wrong_target_makes_adaptive_wing_nan_without_waiting():
    target = torch.full((1, 1, 2, 2), 1.5, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = build("adaptive_wing")(torch.zeros_like(target), target)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert loss.isnan()
