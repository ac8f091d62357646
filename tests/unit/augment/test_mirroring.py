"""Mirroring averages over the mirror images that training has shown, sides exchanged."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from softseg.augment.mirroring import Mirroring, mirroring_of
from tests.support.steps import augment_steps

BOTH = ("left_hippocampus", "right_hippocampus", "skull")
SWAP = [["left_hippocampus", "right_hippocampus"]]


def convolution(axes, targets=1):
    torch.manual_seed(0)
    kind = nn.Conv2d if axes == 2 else nn.Conv3d
    return kind(1, targets, 3, padding=1).requires_grad_(False)


def image(axes, samples=2):
    shape = (7, 6, 5)[:axes]
    return torch.randn(samples, 1, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("steps", "axes"),
    [
        ([{"flip": {}}], (0,)),
        ([{"flip": {"axes": [1]}}, {"affine": {}}, {"flip": {"axes": [0]}}], (0, 1)),
        ([{"flip": {"axes": [0, 1], "probability": 0}}], ()),
        ([{"RandomFlip": {"axes": [1]}}], (1,)),
        ([{"RandomFlip": {}}], (0,)),
        ([{"affine": {}}, {"noise": {}}], ()),
    ],
)
def test_the_axes_are_those_that_training_flipped(steps, axes):
    assert mirroring_of(augment_steps(steps), ("lesion",)) == Mirroring(axes, (0,))


@pytest.mark.parametrize(("axes", "passes"), [((), 1), ((1,), 2), ((0, 1), 4), ((0, 1, 2), 8)])
def test_every_combination_of_the_axes_is_one_pass(axes, passes):
    combinations = list(Mirroring(axes, (0,)).combinations)
    assert len(set(combinations)) == len(combinations) == passes
    assert combinations[0] == ()


@pytest.mark.parametrize(("axes", "mirrored"), [(2, (0, 1)), (2, (1,)), (3, (0, 1, 2)), (3, (2,))])
def test_a_mirror_image_has_the_mirrored_logits(axes, mirrored):
    network, mirroring = convolution(axes), Mirroring(mirrored, (0,))
    mean = mirroring.mean_logits(network, image(axes))
    for turned in mirroring.combinations:
        flips = [axis + 2 for axis in turned]
        other = mirroring.mean_logits(network, image(axes).flip(flips))
        assert torch.allclose(other.flip(flips), mean, atol=1e-6)
    assert not torch.allclose(mean, network(image(axes)), atol=1e-3)


def test_the_mean_is_that_of_all_passes():
    network = convolution(2)
    expected = torch.stack(
        [network(image(2).flip(axes)).flip(axes) for axes in ([], [2], [3], [2, 3])]
    )
    mean = Mirroring((0, 1), (0,)).mean_logits(network, image(2))
    assert torch.allclose(mean, expected.mean(dim=0), atol=1e-6)


def test_a_network_that_mirrors_with_its_input_is_not_changed():
    logits = Mirroring((0, 1, 2), (0,)).mean_logits(lambda part: 2 * part, image(3))
    assert torch.allclose(logits, 2 * image(3), atol=1e-6)


class Sides(nn.Module):
    """Knows where left is: on the side of index 0; of what is bright there it makes its targets."""

    def forward(self, slices):
        middle = slices.shape[2] // 2
        left = slices.clone()
        left[:, :, middle:] = 0
        return torch.cat([left, slices - left, slices], dim=1)


@pytest.mark.parametrize("axes", [2, 3])
def test_left_and_right_change_places_where_the_first_axis_is_mirrored(axes):
    shape = (8, 6, 5)[:axes]
    bright = torch.rand(2, 1, *shape)
    steps = augment_steps([{"flip": {"axes": [0, 1], "swap": SWAP}}])
    mirroring = mirroring_of(steps, BOTH)
    assert mirroring.target_order == (1, 0, 2)
    assert torch.allclose(mirroring.mean_logits(Sides(), bright), Sides()(bright), atol=1e-6)


def test_a_flip_of_another_axis_exchanges_nothing():
    steps = augment_steps([{"flip": {"axes": [1], "swap": SWAP}}])
    assert mirroring_of(steps, BOTH) == Mirroring((1,), (0, 1, 2))
