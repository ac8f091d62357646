"""`over: slice`: standardizing again after augmentation, the order of the paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from softseg.augment import Batch, augment, restandardize
from softseg.core.seeds import generator
from softseg.preprocess.steps import Standardize, standardize_slices
from tests.support.steps import augment_steps

EACH = Standardize(over="slice")
JOINT = Standardize(over="slice", joint=True)
both = pytest.mark.parametrize("step", [EACH, JOINT], ids=["each contrast", "joint"])


@pytest.fixture
def raw():
    """4 slices of 2 contrasts in a scanner's units, with background 0 around the object."""
    image = (
        torch.rand(4, 2, 20, 16, generator=generator(0, "raw"))
        * torch.tensor([800.0, 3.0])[:, None, None]
    )
    image[:, :, :4] = 0
    target = torch.zeros(4, 1, 20, 16)
    target[:, :, 6:14, 5:11] = 0.7
    return Batch(image, target, torch.zeros(4, 2))


def standardized(batch, step):
    image, fill = standardize_slices(batch.image, batch.fill, step.joint)
    return Batch(image, batch.target, fill)


def each_slice(image, step):
    """The oracle: mean 0, deviation 1 of every slice and contrast, or jointly, in float64."""
    image, axes = image.double().numpy(), (1, 2, 3) if step.joint else (2, 3)
    mean, std = (f(image, axis=axes, keepdims=True) for f in (np.mean, np.std))
    return (image - mean) / std


@both
def test_the_result_is_that_of_standardizing_augmented_raw_slices(raw, step):
    steps = augment_steps([{"affine": {"rotation": 40, "translation": 0.2}}])
    published = each_slice(augment(raw, steps, generator(1, "augment")).image, step)
    ours = restandardize(augment(standardized(raw, step), steps, generator(1, "augment")), step)
    np.testing.assert_allclose(ours.image, published, atol=1e-4)


@both
def test_standardizing_twice_is_the_same_as_once(raw, step):
    once = restandardize(raw, step)
    twice = restandardize(once, step)
    assert torch.allclose(once.image, twice.image, atol=1e-5)
    assert torch.allclose(once.fill, twice.fill, atol=1e-5)


@both
def test_the_fill_is_standardized_too_and_the_target_is_not(raw, step):
    after = restandardize(raw, step)
    assert torch.allclose(after.image[:, :, 0, 0], after.fill)
    assert torch.equal(after.target, raw.target)


@both
def test_a_slice_of_background_only_stays_finite(raw, step):
    gone = Batch(torch.full_like(raw.image, -1.3), raw.target, torch.full((4, 2), -1.3))
    after = restandardize(gone, step)
    assert after.image.abs().max() < 1e-6
    assert after.fill.abs().max() < 1e-6
