"""Every loss leaves ignored voxels out: of its value, of its gradient and of its means."""

from __future__ import annotations

import pytest
import torch

from softseg import losses
from tests.support.losses import (
    CONTOUR,
    EVERY,
    OVERLAP,
    batch,
    build,
    combination,
    label,
    maps_for,
)

PER_SAMPLE = [{**spec, "batch_dice": False} for spec in OVERLAP]
SUMS = [{**spec, "reduction": "sum"} for spec in [*EVERY, *CONTOUR]]
COMBINED = combination(*[(spec, 0.1) for spec in [*EVERY, *CONTOUR, *PER_SAMPLE]])


def for_each(specs):
    names = [label(spec) if spec["name"] != "combination" else "all-combined" for spec in specs]
    return pytest.mark.parametrize("spec", specs, ids=names)


every = for_each([*EVERY, *PER_SAMPLE, *CONTOUR, *SUMS, COMBINED])


def scattered(*shape, seed=1):
    """Ignored voxels at random places, float of 0 and 1."""
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.4).double()


def value_and_gradient(loss, prediction, target, maps, ignore):
    at = prediction.clone().requires_grad_()
    value = loss(at, target, maps, ignore)
    value.backward()
    return value.item(), at.grad


@every
def test_a_loss_is_that_of_the_other_voxels_alone(spec):
    """Ignored columns are as if they had been cut off."""
    loss = losses.build(spec)
    prediction, target = batch(3, 2, 4, 6)
    maps = maps_for(loss, target)
    ignore = torch.zeros_like(target)
    ignore[..., 4:] = 1
    value, gradient = value_and_gradient(loss, prediction, target, maps, ignore)
    cut = [tensor[..., :4] for tensor in (prediction, target)]
    cut_maps = {kind: values[..., :4] for kind, values in maps.items()}
    expected, expected_gradient = value_and_gradient(loss, *cut, cut_maps, None)
    assert value == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(gradient[..., :4], expected_gradient, rtol=1e-10, atol=1e-15)


@every
@pytest.mark.parametrize("other", [0.0, 1.0, torch.nan])
def test_predictions_targets_and_maps_at_ignored_voxels_do_not_matter(spec, other):
    loss = losses.build(spec)
    prediction, target = batch(3, 2, 4, 5)
    maps, ignore = maps_for(loss, target), scattered(3, 2, 4, 5)
    value, gradient = value_and_gradient(loss, prediction, target, maps, ignore)
    assert gradient[ignore == 0].abs().sum() > 0
    assert not gradient[ignore > 0].any()
    changed = [
        tensor.masked_fill(ignore > 0, other) for tensor in (prediction, target, *maps.values())
    ]
    changed_maps = dict(zip(maps, changed[2:], strict=True))
    again, same_gradient = value_and_gradient(loss, *changed[:2], changed_maps, ignore)
    assert again == value
    assert torch.equal(same_gradient, gradient)


@every
def test_nothing_ignored_is_the_same_as_no_mask(spec):
    loss = losses.build(spec)
    prediction, target = batch(3, 2, 4, 5)
    maps = maps_for(loss, target)
    value, gradient = value_and_gradient(loss, prediction, target, maps, torch.zeros_like(target))
    expected, expected_gradient = value_and_gradient(loss, prediction, target, maps, None)
    assert value == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-15)


@every
def test_without_any_other_voxel_a_loss_is_0_and_teaches_nothing(spec):
    loss = losses.build(spec)
    prediction, target = batch(2, 2, 3, 4)
    maps = maps_for(loss, target)
    value, gradient = value_and_gradient(loss, prediction, target, maps, torch.ones_like(target))
    assert value == 0
    assert not gradient.any()


@for_each([spec for spec in EVERY + CONTOUR if spec["name"] != "generalized_dice"])
def test_a_target_without_any_other_voxel_counts_in_no_mean(spec):
    """A mean over targets would halve the loss of the other one."""
    loss = losses.build(spec)
    prediction, target = batch(2, 2, 3, 4)
    maps, ignore = maps_for(loss, target), torch.zeros(2, 2, 3, 4)
    ignore[:, 1] = 1
    alone = [tensor[:, :1] for tensor in (prediction, target)]
    maps_alone = {kind: values[:, :1] for kind, values in maps.items()}
    value = loss(prediction, target, maps, ignore).item()
    assert value == pytest.approx(loss(*alone, maps_alone).item(), rel=1e-12)


@for_each([*PER_SAMPLE, {"name": "mse"}, {"name": "boundary"}])
def test_a_sample_without_any_other_voxel_counts_in_no_mean(spec):
    loss = losses.build(spec)
    prediction, target = batch(3, 2, 3, 4)
    maps, ignore = maps_for(loss, target), torch.zeros(3, 2, 3, 4)
    ignore[1] = 1
    others = [0, 2]
    maps_of_others = {kind: values[others] for kind, values in maps.items()}
    value = loss(prediction, target, maps, ignore).item()
    expected = loss(prediction[others], target[others], maps_of_others).item()
    assert value == pytest.approx(expected, rel=1e-12)


@for_each([*EVERY, *CONTOUR, COMBINED])
def test_an_ignore_mask_of_another_shape_is_rejected(spec):
    """It would be broadcast over targets."""
    loss = losses.build(spec)
    prediction, target = batch(2, 2, 3, 4)
    with pytest.raises(ValueError, match=r"ignore \(2, 1, 3, 4\) differ in shape"):
        loss(prediction, target, maps_for(loss, target), torch.zeros(2, 1, 3, 4))


@for_each([*EVERY, *PER_SAMPLE, *CONTOUR, COMBINED])
def test_the_gradient_with_ignored_voxels_is_that_of_the_value(spec):
    loss = losses.build(spec)
    prediction, target = batch(2, 2, 3, 3)
    maps, ignore = maps_for(loss, target), scattered(2, 2, 3, 3)
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: loss(p, target, maps, ignore), (prediction,))


def test_a_loss_does_not_remember_what_a_batch_ignored():
    loss = build("generalized_dice")
    prediction, target = batch(2, 2, 3, 4)
    before = loss(prediction, target).item()
    loss(prediction, target, None, scattered(2, 2, 3, 4))
    assert loss(prediction, target).item() == before
    assert loss == build("generalized_dice")


@pytest.mark.parametrize("name", ["mse", "bce", "boundary"])
def test_the_mean_over_processes_is_the_loss_of_the_batch(name):
    """Each process divides by the mean number of values, not by its own."""
    loss = build(name)
    prediction, target = batch(4, 2, 3, 4)
    maps, ignore = maps_for(loss, target), scattered(4, 2, 3, 4)
    ignore[0] = 1
    counts = [(ignore[part] == 0).sum() for part in (slice(0, 2), slice(2, 4))]
    values = []
    for part in (slice(0, 2), slice(2, 4)):
        own_maps = {kind: map_[part] for kind, map_ in maps.items()}
        own = (prediction[part], target[part], own_maps, ignore[part])
        values.append(loss(*own, lambda _: sum(counts) / 2).item())
    assert sum(values) / 2 == pytest.approx(loss(prediction, target, maps, ignore).item())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@for_each([*EVERY, *PER_SAMPLE])
def test_on_a_gpu_no_loss_waits_for_the_device_to_ignore_voxels(spec):
    prediction, target = (side.cuda() for side in batch(2, 2, 8, 8, dtype=torch.float32))
    ignore = scattered(2, 2, 8, 8).float().cuda()
    prediction.requires_grad_()
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses.build(spec)(prediction, target, None, ignore).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
