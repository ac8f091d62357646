"""What is ignored moves with the slice, and grows by what interpolation mixes into."""

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


@pytest.fixture
def batch():
    """A target of ones in an ignored square, as if they were not known to be 0 or 1."""
    ignore = torch.zeros(3, 2, 40, 32)
    ignore[:, 0, 10:22, 8:20] = 1
    image = torch.randn(3, 1, 40, 32, generator=generator(0, "image"))
    maps = {"half_pixel": torch.randn(3, 2, 40, 32, generator=generator(0, "map"))}
    return Batch(image, ignore.clone(), torch.zeros(3, 1), maps, ignore)


@pytest.mark.parametrize("name", SPATIAL)
def test_a_voxel_is_ignored_where_an_ignored_one_contributes(batch, name):
    moved = augment(batch, augment_steps([{name: SPATIAL[name]}]), generator(1, "x"))
    assert set(moved.ignore.unique().tolist()) == {0, 1}
    assert not torch.equal(moved.ignore, batch.ignore)
    # the target is 1 exactly where it is unknown, so what of it is left is a contribution
    assert torch.equal(moved.ignore > 0, moved.target > 1e-3)
    assert not moved.ignore[:, 1].any()


@pytest.mark.parametrize("name", SPATIAL)
def test_what_is_ignored_does_not_change_image_target_and_maps(batch, name):
    steps = augment_steps([{name: SPATIAL[name]}])
    moved = augment(batch, steps, generator(1, "x"))
    alone = augment(replace(batch, ignore=None), steps, generator(1, "x"))
    assert alone.ignore is None
    for tensor, expected in ((moved.image, alone.image), (moved.target, alone.target)):
        assert torch.equal(tensor, expected)
    assert torch.equal(moved.maps["half_pixel"], alone.maps["half_pixel"])


def test_outside_of_the_slice_nothing_is_ignored():
    """There is no structure there, as without ignored voxels."""
    ignore = torch.ones(1, 1, 20, 20)
    batch = Batch(ignore.clone(), ignore.clone(), torch.zeros(1, 1), ignore=ignore)
    steps = augment_steps([{"affine": {"translation": 0.5, "rotation": 0, "scale": 0}}])
    moved = augment(batch, steps, generator(3, "x"))
    assert not moved.ignore.all()
    assert torch.equal(moved.ignore > 0, moved.target > 1e-3)


@pytest.mark.parametrize("step", [{"RandomBlur": {}}, {"RandomGamma": {}}, {"binarize": {}}])
def test_other_steps_leave_what_is_ignored_as_it_is(batch, step):
    assert torch.equal(
        augment(batch, augment_steps([step]), generator(1, "x")).ignore, batch.ignore
    )
