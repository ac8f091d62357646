"""Weights of the loss move with the slice; outside of it they are 1."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from softseg.augment import Batch, augment
from softseg.core.seeds import generator
from tests.support.steps import augment_steps

SPATIAL = {
    "affine": {"rotation": 30, "translation": 0.1},
    "RandomAffine": {"degrees": 20},
    "RandomElasticDeformation": {"max_displacement": [3, 3, 0], "num_control_points": 5},
    "RandomFlip": {"axes": [0, 1], "flip_probability": 1.0},
}
every = pytest.mark.parametrize("name", SPATIAL)


@pytest.fixture
def batch():
    """A target that is what its weights lack to 1, so that it must stay so; a square is ignored."""
    image = torch.randn(3, 1, 40, 32, generator=generator(0, "image"))
    target = torch.rand(3, 2, 40, 32, generator=generator(0, "target"))
    maps = {"half_pixel": torch.randn(3, 2, 40, 32, generator=generator(0, "map"))}
    ignore = torch.zeros(3, 2, 40, 32)
    ignore[:, 0, 10:22, 8:20] = 1
    return Batch(image, target, torch.zeros(3, 1), maps, ignore, weight=1 - target)


def moved(batch, name):
    return augment(batch, augment_steps([{name: SPATIAL[name]}]), generator(1, "x"))


@every
def test_weights_are_interpolated_as_the_target_is(batch, name):
    after = moved(batch, name)
    torch.testing.assert_close(after.weight, 1 - after.target, atol=1e-6, rtol=0)
    assert not torch.equal(after.weight, batch.weight)
    assert after.weight.amin() >= 0
    assert after.weight.amax() <= 1


@every
def test_weights_change_nothing_else(batch, name):
    after, alone = moved(batch, name), moved(replace(batch, weight=None), name)
    assert alone.weight is None
    for field in ("image", "target", "ignore"):
        assert torch.equal(getattr(after, field), getattr(alone, field))
    assert torch.equal(after.maps["half_pixel"], alone.maps["half_pixel"])


@every
def test_weights_need_no_ignored_voxels(batch, name):
    after = moved(replace(batch, ignore=None), name)
    assert after.ignore is None
    assert torch.equal(after.weight, moved(batch, name).weight)


@every
def test_full_weights_stay_exactly_1(batch, name):
    assert (moved(replace(batch, weight=torch.ones(3, 2, 40, 32)), name).weight == 1).all()


def test_outside_of_the_slice_weights_are_1():
    ones = torch.ones(1, 1, 20, 20)
    batch = Batch(ones, ones, torch.zeros(1, 1), weight=0.25 * ones)
    steps = augment_steps([{"affine": {"translation": 0.5, "rotation": 0, "scale": 0}}])
    after = augment(batch, steps, generator(3, "x"))
    outside = after.target == 0
    assert outside.any()
    assert (after.weight[outside] == 1).all()


@pytest.mark.parametrize("step", [{"RandomBlur": {}}, {"RandomGamma": {}}, {"binarize": {}}])
def test_other_steps_leave_weights_as_they_are(batch, step):
    after = augment(batch, augment_steps([step]), generator(1, "x")).weight
    torch.testing.assert_close(after, batch.weight, atol=1e-7, rtol=0)
