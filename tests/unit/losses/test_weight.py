"""Weights of voxels: exact in every loss, 0 is ignored and 1 is as without weights."""

from __future__ import annotations

import pytest
import torch

from softseg import losses
from tests.support.losses import EVERY, OVERLAP, batch, build, combination, label

PER_SAMPLE = [{**spec, "batch_dice": False} for spec in OVERLAP]
SUMS = [{**spec, "reduction": "sum"} for spec in EVERY]
COMBINED = combination(*[(spec, 0.1) for spec in [*EVERY, *PER_SAMPLE]])


def for_each(specs):
    names = [label(spec) if spec["name"] != "combination" else "all-combined" for spec in specs]
    return pytest.mark.parametrize("spec", specs, ids=names)


every = for_each([*EVERY, *PER_SAMPLE, *SUMS, COMBINED])


def random_weights(*shape, seed=1):
    """Weights in [0, 1], some of them 0 and some 1."""
    draws = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (1.4 * draws - 0.2).clamp(0, 1)


def value_and_gradient(loss, prediction, target, **options):
    at = prediction.clone().requires_grad_()
    value = loss(at, target, **options)
    value.backward()
    return value.item(), at.grad


@every
def test_whole_weights_are_voxels_that_occur_so_often(spec):
    """The oracle: columns that are repeated, or cut off where the weight is 0."""
    loss = losses.build(spec)
    prediction, target = batch(3, 2, 4, 6)
    times = torch.tensor([1, 3, 0, 2, 1, 4])
    weight = times.double().expand(3, 2, 4, 6)
    value, gradient = value_and_gradient(loss, prediction, target, weight=weight)
    repeated = [side.repeat_interleave(times, dim=3) for side in (prediction, target)]
    expected, of_repeated = value_and_gradient(loss, *repeated)
    assert value == pytest.approx(expected, rel=1e-12)
    columns = [part.sum(dim=3) for part in of_repeated.split(times.tolist(), dim=3)]
    torch.testing.assert_close(gradient, torch.stack(columns, dim=3), rtol=1e-10, atol=1e-15)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_of_0_and_1_are_ignored_voxels_to_the_bits(spec, dtype):
    loss = losses.build(spec)
    prediction, target = batch(3, 2, 4, 5, dtype=dtype)
    ignore = (random_weights(3, 2, 4, 5) < 0.5).float()
    value, gradient = value_and_gradient(loss, prediction, target, weight=1 - ignore)
    expected, expected_gradient = value_and_gradient(loss, prediction, target, ignore=ignore)
    assert value == expected
    assert torch.equal(gradient, expected_gradient)


@for_each([*EVERY, *PER_SAMPLE, *SUMS])  # of many terms, autograd adds gradients in another order
@pytest.mark.parametrize("shape", [(3, 2, 4, 5), (2, 3, 31, 37)])
def test_weights_of_1_are_no_weights_to_the_bits(spec, shape):
    loss = losses.build(spec)
    prediction, target = batch(*shape, dtype=torch.float32)
    value, gradient = value_and_gradient(loss, prediction, target, weight=torch.ones(shape))
    expected, expected_gradient = value_and_gradient(loss, prediction, target)
    assert value == expected
    assert torch.equal(gradient, expected_gradient)


@for_each([{"name": name} for name in ("mse", "bce", "adaptive_wing")])
def test_the_mean_over_voxels_is_the_weighted_mean(spec):
    loss, single = losses.build(spec), losses.build({**spec, "reduction": "sum"})
    prediction, target = batch(2, 2, 3, 4)
    weight = random_weights(2, 2, 3, 4)
    values = loss.forward(prediction, target)
    expected = (weight * values).sum() / weight.sum()
    assert loss(prediction, target, weight=weight).item() == pytest.approx(expected.item())
    total = single(prediction, target, weight=weight).item()
    assert total == pytest.approx((weight * values).sum().item())
    assert loss(prediction, target, weight=weight / 8).item() == pytest.approx(expected.item())


def test_dice_weights_the_terms_of_each_voxel_and_target():
    prediction, target = batch(2, 3, 4, 5)
    weight = random_weights(2, 3, 4, 5)
    p, y = (weight * side for side in (prediction, target))
    overlap = 2 * (p * target).sum(dim=(0, 2, 3)) + 1
    whole = p.sum(dim=(0, 2, 3)) + y.sum(dim=(0, 2, 3)) + 1
    expected = (1 - overlap / whole).mean().item()
    assert build("dice")(prediction, target, weight=weight).item() == pytest.approx(expected)


@every
@pytest.mark.parametrize("other", [0.0, 1.0, torch.nan])
def test_predictions_and_targets_of_weight_0_do_not_matter(spec, other):
    loss = losses.build(spec)
    prediction, target = batch(3, 2, 4, 5)
    weight = random_weights(3, 2, 4, 5)
    value, gradient = value_and_gradient(loss, prediction, target, weight=weight)
    assert gradient[weight > 0].abs().sum() > 0
    assert not gradient[weight == 0].any()
    changed = [side.masked_fill(weight == 0, other) for side in (prediction, target)]
    again, same_gradient = value_and_gradient(loss, *changed, weight=weight)
    assert again == value
    assert torch.equal(same_gradient, gradient)


@every
def test_ignored_voxels_have_no_weight(spec):
    loss = losses.build(spec)
    prediction, target = batch(3, 2, 4, 5)
    weight, ignore = random_weights(3, 2, 4, 5), (random_weights(3, 2, 4, 5, seed=2) < 0.3).float()
    value, gradient = value_and_gradient(loss, prediction, target, ignore=ignore, weight=weight)
    both = weight.masked_fill(ignore > 0, 0)
    expected, expected_gradient = value_and_gradient(loss, prediction, target, weight=both)
    assert value == expected
    assert torch.equal(gradient, expected_gradient)
    unknown = [side.masked_fill(both == 0, torch.nan) for side in (prediction, target)]
    assert loss(*unknown, ignore=ignore, weight=weight).item() == value


@every
def test_without_any_weight_a_loss_is_0_and_teaches_nothing(spec):
    loss = losses.build(spec)
    prediction, target = batch(2, 2, 3, 4)
    value, gradient = value_and_gradient(
        loss, prediction, target, weight=torch.zeros_like(prediction)
    )
    assert value == 0
    assert not gradient.any()


@every
def test_small_weights_count_as_relative_ones_of_a_mean(spec):
    """A sum of weights below 1 is not rounded up to a voxel."""
    if spec["name"] == "combination" or spec.get("reduction") == "sum":
        pytest.skip("grows with the weights")
    if "smooth" in losses.build(spec).model_dump():
        spec = {**spec, "smooth": 0}
    loss = losses.build(spec)
    prediction, target = batch(2, 2, 3, 4)
    weight = random_weights(2, 2, 3, 4) + 0.1
    value = loss(prediction, target, weight=weight / 1e4).item()
    assert value == pytest.approx(loss(prediction, target, weight=weight).item(), rel=1e-9)


@every
def test_weights_of_another_shape_are_rejected(spec):
    loss = losses.build(spec)
    prediction, target = batch(2, 2, 3, 4)
    with pytest.raises(ValueError, match=r"weight \(2, 1, 3, 4\) differ in shape"):
        loss(prediction, target, weight=torch.ones(2, 1, 3, 4))


@for_each([*EVERY, *PER_SAMPLE, COMBINED])
def test_the_weighted_gradient_is_that_of_the_value(spec):
    loss = losses.build(spec)
    prediction, target = batch(2, 2, 3, 3)
    weight = random_weights(2, 2, 3, 3)
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: loss(p, target, weight=weight), (prediction,))


def test_a_loss_does_not_remember_the_weights_of_a_batch():
    loss = build("generalized_dice")
    prediction, target = batch(2, 2, 3, 4)
    before = loss(prediction, target).item()
    loss(prediction, target, weight=random_weights(2, 2, 3, 4))
    assert loss(prediction, target).item() == before


@pytest.mark.parametrize("name", ["mse", "bce"])
def test_the_weighted_mean_over_processes_is_the_loss_of_the_batch(name):
    """Each process divides by the mean sum of weights, not by its own."""
    loss = build(name)
    prediction, target = batch(4, 2, 3, 4)
    weight = random_weights(4, 2, 3, 4)
    parts = (slice(0, 2), slice(2, 4))
    counts = sum(weight[part].sum() for part in parts)
    values = [
        loss(prediction[part], target[part], None, None, lambda _: counts / 2, weight[part]).item()
        for part in parts
    ]
    expected = loss(prediction, target, weight=weight).item()
    assert sum(values) / 2 == pytest.approx(expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@for_each([*EVERY, *PER_SAMPLE])
def test_on_a_gpu_no_loss_waits_for_the_device_to_weight_voxels(spec):
    prediction, target = (side.cuda() for side in batch(2, 2, 8, 8, dtype=torch.float32))
    weight = random_weights(2, 2, 8, 8).float().cuda()
    prediction.requires_grad_()
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses.build(spec)(prediction, target, weight=weight).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
