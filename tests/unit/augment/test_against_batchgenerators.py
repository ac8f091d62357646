"""Steps against batchgeneratorsv2, the augmentation of nnU-Net, with the same parameters.

Conventions that differ:

- A scale of s there shrinks structures by s; the factor of `affine` enlarges them. Its scales are
  uniform between the limits; `scale_range` takes half of the factors below 1 and half above.
- Angles there turn the other way, except about the second axis of a volume.
- What is called the variance of the noise is its standard deviation.
- Its blur ends at 3 standard deviations, here at 4 of the largest. At a border it mirrors about the
  center of the last voxel, here about its outer face.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from softseg.augment import Batch
from softseg.augment.intensity import Blur, Brightness, Contrast, Gamma, LowResolution, Noise
from softseg.augment.random_step import RandomStep, seeded
from softseg.augment.spatial import Affine, Flip

pytest.importorskip(
    "batchgeneratorsv2", reason="batchgeneratorsv2 is not installed: pip install '.[test]'"
)

SIZES = ((24, 19), (18, 15, 16))
ALWAYS: dict[str, Any] = {"synchronize_channels": False, "p_per_channel": 1}


def batch_of(size: tuple[int, ...]) -> Batch:
    draws = seeded(5)
    image = torch.randn(1, 1, *size, generator=draws)
    return Batch(image, torch.rand(1, 1, *size, generator=draws), torch.zeros(1, 1))


def apply(step: RandomStep, batch: Batch, **changes: torch.Tensor) -> Batch:
    """Apply a step whose limits leave one value, or with other values of its parameters."""
    parameters = {**step.sample(tuple(batch.image.shape), seeded(0)), **changes}
    return step.apply(batch.map_tensors(torch.clone), parameters)


def assert_same_image(step: RandomStep, theirs: Any, size: tuple[int, ...], atol: float) -> None:
    batch = batch_of(size)
    expected = theirs(image=batch.image[0].clone())["image"]
    assert not torch.equal(expected, batch.image[0])
    torch.testing.assert_close(apply(step, batch).image[0], expected, atol=atol, rtol=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("exponent", [0.7, 1.5])
@pytest.mark.parametrize("inverted", [True, False])
@pytest.mark.parametrize("retain", [True, False])
def test_gamma(size: tuple[int, ...], exponent: float, inverted: bool, retain: bool) -> None:
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform

    how = {"p_invert_image": int(inverted), "p_retain_stats": int(retain)}
    step = Gamma(exponent=(exponent, exponent), inverted=inverted, retain_statistics=retain)
    assert_same_image(step, GammaTransform(exponent, **how, **ALWAYS), size, 1e-4)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factor", [0.75, 1.25])
@pytest.mark.parametrize("preserve", [True, False])
def test_contrast(size: tuple[int, ...], factor: float, preserve: bool) -> None:
    from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform

    step = Contrast(factor=(factor, factor), preserve_range=preserve)
    assert_same_image(step, ContrastTransform(factor, preserve, **ALWAYS), size, 1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_brightness(size: tuple[int, ...]) -> None:
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform

    theirs = MultiplicativeBrightnessTransform(1.2, **ALWAYS)
    assert_same_image(Brightness(factor=(1.2, 1.2)), theirs, size, 0)


@pytest.mark.parametrize("size", SIZES)
def test_noise(size: tuple[int, ...]) -> None:
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform

    batch, step, seed = batch_of(size), Noise(std=(0.3, 0.3)), 7
    after = apply(step, batch, seed=torch.tensor([[seed]]))
    theirs = GaussianNoiseTransform(0.3, synchronize_channels=True)
    noise = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        # its parameters take random numbers as well, and its noise those of the global generator
        parameters = theirs.get_parameters(image=batch.image[0])
        torch.default_generator.set_state(noise.get_state())
        expected = theirs.apply({"image": batch.image[0].clone()}, **parameters)["image"]
    torch.testing.assert_close(after.image[0], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_blur_of_voxels_away_from_the_border(size: tuple[int, ...], sigma: float) -> None:
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform

    batch = batch_of(size)
    after = apply(Blur(sigma=(sigma, sigma)), batch).image[0]
    theirs = GaussianBlurTransform(sigma, **ALWAYS)(image=batch.image[0].clone())["image"]
    inside = (0, *[slice(4, -4)] * len(size))
    # an image with a standard deviation of 1, of which blur leaves 0.1 to 0.5
    assert (after - theirs)[inside].abs().max() < 0.01
    assert (after - batch.image[0])[inside].abs().max() > 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("zoom", [0.5, 0.77])
@pytest.mark.parametrize("kept", [None, 0])
def test_low_resolution(size: tuple[int, ...], zoom: float, kept: int | None) -> None:
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform

    axes = None if kept is None else tuple(range(1, len(size)))
    ignored = None if kept is None else (kept,)
    theirs = SimulateLowResolutionTransform(
        zoom, synchronize_axes=True, ignore_axes=ignored, **ALWAYS
    )
    assert_same_image(LowResolution(zoom=(zoom, zoom), axes=axes), theirs, size, 1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_mirroring(size: tuple[int, ...]) -> None:
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform

    batch, axes = batch_of(size), tuple(range(len(size)))
    after = apply(Flip(axes=axes, probability=1), batch)
    mirrored = MirrorTransform(axes).apply(
        {"image": batch.image[0], "regression_target": batch.target[0]}, axes=axes
    )
    assert torch.equal(after.image[0], mirrored["image"])
    assert torch.equal(after.target[0], mirrored["regression_target"])


@pytest.mark.parametrize(
    ("size", "angles"),
    [((24, 19), [0.4]), ((24, 19), [-2.0]), ((18, 15, 16), [0.3, -0.5, 0.2])],
)
@pytest.mark.parametrize("factor", [0.7, 1.0, 1.4])
def test_rotation_and_scale(size: tuple[int, ...], angles: list[float], factor: float) -> None:
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform

    batch = batch_of(size)
    turned = apply(Affine(translation=0), batch, **as_parameters(angles, factor, len(size)))
    turns = [-angles[0], angles[1], -angles[2]] if len(size) == 3 else [0, -angles[0]]
    theirs = SpatialTransform(
        size,
        patch_center_dist_from_border=0,
        random_crop=False,
        p_rotation=1,
        rotation=lambda *_, dim, **__: turns[dim],
        p_scaling=1,
        scaling=1 / factor,
        p_synchronize_scaling_across_axes=1,
    )
    parts = {"image": batch.image[0], "regression_target": batch.target[0]}
    expected = theirs(**{name: part.clone() for name, part in parts.items()})
    assert (expected["image"] - batch.image[0]).abs().max() > 0.5
    torch.testing.assert_close(turned.image[0], expected["image"], atol=1e-4, rtol=0)
    torch.testing.assert_close(turned.target[0], expected["regression_target"], atol=1e-4, rtol=0)


def as_parameters(angles: list[float], factor: float, axes: int) -> dict[str, torch.Tensor]:
    return {
        "angles": torch.tensor([angles]),
        "scale": torch.full((1, axes), factor),
        "translation": torch.zeros(1, axes),
    }
