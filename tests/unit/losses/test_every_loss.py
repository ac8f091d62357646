"""What every loss promises: parameters, finite gradients, and what a soft target's minimum is."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from softseg import losses
from tests.support.losses import EVERY, OVERLAP, VALID_FOR_SOFT, VOXEL, batch, label, row

every = pytest.mark.parametrize("spec", EVERY, ids=label)
overlap = pytest.mark.parametrize("spec", OVERLAP, ids=label)


def test_the_cases_are_the_whole_family():
    """But for contour losses and combinations, which promise other things."""
    mapping = TypeAdapter(losses.Loss).json_schema()["discriminator"]["mapping"]
    others = {"boundary", "region_wise", "combination"}
    assert set(mapping) - others == {spec["name"] for spec in EVERY}
    assert len(mapping) == 18 + len(others)


@every
def test_a_parameter_that_the_loss_has_not_is_refused(spec):
    assert losses.build(spec).name == spec["name"]
    with pytest.raises(ValidationError, match="Extra inputs"):
        losses.build({**spec, "sharpness": 1})


@every
@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_exact_zeros_and_ones_have_finite_values_and_gradients(spec, smooth, dtype):
    """Also of an empty target, an empty prediction, and both; as in training, autocast or not."""
    loss = losses.build({**spec, "smooth": smooth} if spec in OVERLAP else spec)
    for scene in product((0, 1e-40, 1e-7, 0.5, 1), repeat=2):
        prediction, target = (torch.full((2, 2, 3, 3), v, dtype=dtype) for v in scene)
        prediction.requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            value = loss(prediction, target)
        value.backward()
        assert value.dtype == torch.float32
        assert value.isfinite(), scene
        assert value >= 0, scene
        assert prediction.grad.isfinite().all(), scene


@every
def test_a_mixture_of_zeros_ones_and_gray_has_a_finite_gradient(spec):
    corners = torch.tensor(list(product((0, 0.25, 1), (0, 0.25, 1))))
    prediction, target = (corners[:, side].view(1, 1, 3, 3).clone() for side in (0, 1))
    prediction.requires_grad_()
    losses.build(spec)(prediction, target).backward()
    assert prediction.grad.isfinite().all()
    assert prediction.grad.abs().sum() > 0


@every
def test_a_hard_target_costs_nothing_where_it_is_met(spec):
    target = torch.zeros(2, 2, 4, 4)
    target[:, 0, 1:3, 1:3] = 1  # and nothing of the second target
    assert losses.build(spec)(target.clone(), target).item() == pytest.approx(0, abs=2e-4)


@overlap
@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_nothing_where_nothing_is_costs_nothing_even_without_smoothing(spec, scope):
    nothing = torch.zeros(2, 2, 3, 3)
    loss = losses.build({**spec, "smooth": 0.0, "batch_dice": scope == "batch"})
    assert loss(nothing, nothing).item() == 0


@every
def test_a_prediction_of_nan_is_not_hidden(spec):
    prediction, target = batch(2, 1, 3, 3)
    prediction[0, 0, 1, 1] = torch.nan
    assert losses.build(spec)(prediction, target).isnan()


@every
@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_gradient(spec, scope):
    loss = losses.build({**spec, "batch_dice": scope == "batch"} if spec in OVERLAP else spec)
    prediction, target = batch(2, 2, 3, 3)
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: loss(p, target), (prediction,))


@every
def test_the_order_of_samples_does_not_matter(spec):
    prediction, target = batch(3, 2, 4, 4)
    order = [2, 0, 1]
    for scope in ("batch", "sample") if spec in OVERLAP else ("batch",):
        loss = losses.build({**spec, "batch_dice": scope == "batch"} if spec in OVERLAP else spec)
        shuffled = loss(prediction[order], target[order])
        assert shuffled.item() == pytest.approx(loss(prediction, target).item(), rel=1e-12)


@overlap
def test_per_sample_is_the_mean_of_the_samples(spec):
    prediction, target = batch(3, 2, 4, 4)
    prediction[0], target[1] = 0, 0
    alone = losses.build(spec)
    expected = [alone(prediction[i : i + 1], target[i : i + 1]).item() for i in range(3)]
    together = losses.build({**spec, "batch_dice": False})(prediction, target)
    assert together.item() == pytest.approx(sum(expected) / 3, rel=1e-12)


@pytest.mark.parametrize("spec", VALID_FOR_SOFT, ids=label)
@settings(max_examples=60, deadline=None)
@given(
    voxels=st.lists(st.tuples(VOXEL, st.floats(0, 1)), min_size=1, max_size=6),
    smooth=st.sampled_from([0.0, 1.0]),
    step=st.sampled_from([1.0, 0.01]),
)
def test_a_soft_target_is_the_minimum_of_a_valid_loss(spec, voxels, smooth, step):
    """Nowhere, near by or far, is a prediction better than the target itself."""
    loss = losses.build({**spec, "smooth": smooth} if spec in OVERLAP else spec)
    target, other = (row(*side) for side in zip(*voxels, strict=True))
    prediction = target + step * (other - target)
    best = loss(target, target)
    assert loss(prediction, target) >= best - 1e-12
    if (prediction - target).abs().max() > 0.01:
        assert loss(prediction, target) > best


@pytest.mark.parametrize("spec", VALID_FOR_SOFT, ids=label)
def test_a_valid_loss_has_no_gradient_at_a_soft_target(spec):
    _, target = batch(2, 2, 4, 4)
    prediction = target.clone().requires_grad_()
    losses.build(spec)(prediction, target).backward()
    torch.testing.assert_close(prediction.grad, torch.zeros_like(target), atol=1e-12, rtol=0)


@pytest.mark.parametrize("spec", [s for s in OVERLAP if s not in VALID_FOR_SOFT], ids=label)
def test_the_other_losses_have_a_better_prediction_than_the_soft_target(spec):
    loss = losses.build({**spec, "smooth": 0.0})
    target = row(1, 0.6, 0.6, 0.3)
    sharper = [row(1, 1, 1, 0), row(1, 1, 1, 1), row(1, 0.7, 0.7, 0.2)]
    assert min(loss(p, target) for p in sharper) < loss(target, target) - 1e-3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every
def test_on_a_gpu_no_loss_waits_for_the_device(spec):
    prediction, target = (side.cuda() for side in batch(2, 2, 8, 8, dtype=torch.float32))
    prediction.requires_grad_()
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses.build(spec)(prediction, target).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
