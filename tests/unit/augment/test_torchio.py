"""TorchIO's transforms by name: the target stays float32, soft and in place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from softseg.augment import Batch, augment
from softseg.core.seeds import generator
from tests.support.steps import augment_steps

SPATIAL = {
    "RandomAffine": {"degrees": 20},
    "RandomElasticDeformation": {"max_displacement": [3, 3, 0], "num_control_points": 5},
    "RandomFlip": {"axes": [0, 1], "flip_probability": 1.0},
}
INTENSITY = (
    "RandomBiasField",
    "RandomBlur",
    "RandomGamma",
    "RandomGhosting",
    "RandomMotion",
    "RandomNoise",
    "RandomSpike",
)


@pytest.fixture
def batch():
    target = torch.zeros(3, 1, 40, 32)
    target[:, :, 10:30, 8:24] = 0.75
    image = torch.randn(3, 2, 40, 32, generator=generator(0, "image"))
    return Batch(image, target, torch.tensor([[-1.0, -2.0]]).expand(3, 2))


@pytest.mark.parametrize("name", SPATIAL)
def test_spatial_transforms_move_the_soft_target_by_linear_interpolation(batch, name):
    moved = augment(batch, augment_steps([{name: SPATIAL[name]}]), generator(1, "x"))
    assert moved.target.dtype == torch.float32
    assert not torch.equal(moved.target, batch.target) or name == "RandomFlip"
    assert moved.target.sum() == pytest.approx(float(batch.target.sum()), rel=0.25)
    if name != "RandomFlip":
        values = moved.target.unique()
        assert ((values > 0) & (values < 0.74)).any(), "nearest-neighbor labels"


@pytest.mark.parametrize("name", INTENSITY)
def test_intensity_transforms_do_not_change_the_target(batch, name):
    changed = augment(batch, augment_steps([{name: {}}]), generator(1, "x"))
    assert torch.equal(changed.target, batch.target)
    assert changed.image.shape == batch.image.shape
    assert changed.image.isfinite().all()
    assert not torch.equal(changed.image, batch.image)


def test_a_target_moves_with_its_image():
    """A bright square and its mask stay on top of each other."""
    target = torch.zeros(1, 1, 40, 40)
    target[:, :, 8:20, 12:30] = 1
    both = Batch(target.clone() * 2 - 1, target, torch.full((1, 1), -1.0))
    steps = augment_steps([{"RandomAffine": {"degrees": 25, "translation": 3}}])
    moved = augment(both, steps, generator(5, "x"))
    assert torch.allclose(moved.image, moved.target * 2 - 1, atol=1e-4)


@pytest.mark.parametrize("translation", [5, [-5, 5], [5, 5, 5], [-5, 5, -5, 5, -5, 5]])
def test_no_slice_is_shifted_out_of_its_plane(translation):
    """TorchIO takes a translation for three axes, and one slice has no neighbors to move in."""
    target = torch.zeros(40, 1, 40, 40)
    target[:, :, 12:28, 12:28] = 1
    steps = augment_steps(
        [{"RandomAffine": {"degrees": 10, "translation": translation, "scales": 0}}]
    )
    both = Batch(target.clone(), target, torch.zeros(40, 1))
    moved = augment(both, steps, generator(3, "x"))
    left = moved.target.sum(dim=(1, 2, 3)) / target[0].sum()
    assert left.min() > 0.98
    rows = moved.target.amax(dim=(1, 3)).argmax(dim=1)
    assert rows.unique().numel() > 4  # they are shifted within it


def test_randomness_comes_from_the_generator_and_changes_no_other(batch):
    steps = augment_steps([{"RandomNoise": {}}])
    torch.manual_seed(11)
    state = torch.get_rng_state()
    one = augment(batch, steps, generator(2, "x"))
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(12)
    assert torch.equal(one.image, augment(batch, steps, generator(2, "x")).image)


def test_a_flip_moves_the_maps_of_a_contour_loss_and_noise_does_not(batch):
    maps = {"half_pixel": torch.randn(3, 1, 40, 32) * 9}
    batch = replace(batch, maps=maps)
    flip = augment_steps([{"RandomFlip": {"axes": [0], "flip_probability": 1}}])
    flipped = augment(batch, flip, generator(1, "x")).maps["half_pixel"]
    torch.testing.assert_close(flipped, maps["half_pixel"].flip(2))
    noisy = augment(batch, augment_steps([{"RandomNoise": {}}]), generator(1, "x")).maps[
        "half_pixel"
    ]
    assert torch.equal(noisy, maps["half_pixel"])


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"RandomBlur": {"stdd": 1}}, "takes p, std; not `stdd`"),
        ({"RandomNoise": {"std": -1}}, "TorchIO rejects RandomNoise"),
        ({"RandomAffine": {"label_interpolation": "nearest"}}, "not `label_interpolation`"),
    ],
)
def test_parameters_that_torchio_rejects_are_rejected_when_the_yaml_is_read(step, message):
    with pytest.raises(ValueError, match=message):
        augment_steps([step])


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("RandomAffine", {"degrees": 45, "translation": 6}),
        (
            "RandomElasticDeformation",
            {"max_displacement": [4, 4, 0], "num_control_points": 5, "locked_borders": 0},
        ),
    ],
)
def test_outside_of_the_slice_is_the_fill_and_no_target(name, parameters):
    """Not the slice's minimum, and not raw 0: the slice is brighter and darker than its fill."""
    image = torch.full((4, 1, 24, 24), 5.0)
    image[:, :, 8:16, 8:16] = -3
    full = Batch(image, torch.ones(4, 1, 24, 24), torch.full((4, 1), 2.0))
    moved = augment(full, augment_steps([{name: parameters}]), generator(1, "x"))
    outside = moved.target == 0
    assert outside.any()
    assert (moved.image[outside] == 2).all()
    assert (moved.target[:, :, 9:15, 9:15] == 1).all()


def test_a_circle_in_mm_stays_one_where_pixels_are_oblong():
    row, column = np.mgrid[:20, :60] + 0.5
    away = np.hypot((row - 10) * 3, column - 30)
    target = torch.from_numpy(1 / (1 + np.exp((away - 14) / 2))).float()[None, None]
    batch = Batch(target, target, torch.zeros(1, 1), spacing=torch.tensor([[3.0, 1.0]]))
    steps = augment_steps([{"RandomAffine": {"degrees": [60, 60], "scales": 0}}])
    moved = augment(batch, steps, generator(0, "x"))
    assert (moved.target - target).abs().max() < 0.05
    skewed = augment(replace(batch, spacing=None), steps, generator(0, "x"))
    assert (skewed.target - target).abs().max() > 0.5


def test_an_elastic_deformation_has_the_same_size_along_both_axes_of_oblong_pixels():
    """A slope along either axis shows how far each pixel was moved: 3 mm at most, not 3 pixels."""
    row, column = np.mgrid[:16, :64] + 0.5
    slopes = torch.from_numpy(np.stack([row * 2, column * 0.5])).float()[None] + 100
    batch = Batch(
        slopes, torch.zeros(1, 1, 16, 64), torch.zeros(1, 2), spacing=torch.tensor([[4.0, 1.0]])
    )
    step = {"max_displacement": [3, 3, 0], "num_control_points": 5, "locked_borders": 1}
    seen = []
    for seed in range(6):
        moved = augment(
            batch, augment_steps([{"RandomElasticDeformation": step}]), generator(seed, "x")
        )
        distances = (moved.image - slopes).abs()[..., 3:-3, 10:-10].amax(dim=(0, 2, 3))
        seen.append(distances)
    largest = torch.stack(seen).amax(dim=0)
    assert (largest < 3).all()
    assert (largest > 0.7).all()
