"""Losses of slices (B, K, H, W) and of volumes (B, K, X, Y, Z): the same voxels, the same value."""

from __future__ import annotations

import pytest
import torch

from softseg import losses
from tests.support.losses import CONTOUR, EVERY, OVERLAP, batch, label

PER_SAMPLE = [{**spec, "batch_dice": False} for spec in OVERLAP]
every = pytest.mark.parametrize("spec", EVERY + CONTOUR + PER_SAMPLE, ids=label)
options = pytest.mark.parametrize("option", ["all", "ignore", "weight"])


def value_and_gradient(spec, prediction, target, option, shape):
    """The loss of the same voxels, arranged as a shape, and its gradient."""
    loss = losses.build(spec)
    noise = torch.rand(prediction.shape, generator=torch.Generator().manual_seed(5)).double()
    extra = {"ignore": (noise < 0.3).double(), "weight": noise}.get(option)
    maps = {kind: (noise - 0.5).view(shape) for kind in loss.required_maps}
    at = prediction.reshape(shape).requires_grad_()
    value = loss(
        at, target.view(shape), maps, **({} if extra is None else {option: extra.view(shape)})
    )
    value.backward()
    return value.detach(), at.grad


@every
@options
def test_a_volume_of_one_slice_has_the_loss_of_the_slice(spec, option):
    prediction, target = batch(3, 2, 4, 5)
    value, gradient = value_and_gradient(spec, prediction, target, option, (3, 2, 4, 5))
    of_volume, its_gradient = value_and_gradient(spec, prediction, target, option, (3, 2, 1, 4, 5))
    assert torch.equal(of_volume, value)
    assert torch.equal(its_gradient[:, :, 0], gradient)


@every
@options
def test_a_loss_does_not_depend_on_how_voxels_are_arranged(spec, option):
    """So a loss of a volume is its closed form of test_formulas.py, over all voxels."""
    prediction, target = batch(2, 3, 2, 30)
    value, gradient = value_and_gradient(spec, prediction, target, option, (2, 3, 2, 30))
    of_volume, its_gradient = value_and_gradient(spec, prediction, target, option, (2, 3, 3, 4, 5))
    torch.testing.assert_close(of_volume, value)
    torch.testing.assert_close(its_gradient.view_as(gradient), gradient)


def test_a_loss_of_a_volume_is_its_formula():
    prediction, target = batch(2, 2, 3, 4, 5)
    errors = (prediction - target).square()
    assert losses.build({"name": "mse"})(prediction, target) == pytest.approx(errors.mean().item())
    agreed, both = prediction * target, prediction + target
    of_target = [1 - (2 * agreed[:, k].sum() + 1) / (both[:, k].sum() + 1) for k in range(2)]
    dice = losses.build({"name": "dice"})(prediction, target)
    assert dice == pytest.approx(torch.stack(of_target).mean().item())
    of_sample = [
        [1 - (2 * agreed[b, k].sum() + 1) / (both[b, k].sum() + 1) for k in range(2)]
        for b in range(2)
    ]
    per_sample = losses.build({"name": "dice", "batch_dice": False})(prediction, target)
    assert per_sample == pytest.approx(torch.tensor(of_sample).mean().item())
