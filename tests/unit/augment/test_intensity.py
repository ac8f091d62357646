"""Intensity steps: each against an independent computation, and what all of them share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torchio
from pydantic import TypeAdapter, ValidationError
from scipy import ndimage, stats

from softseg.augment import Batch
from softseg.augment.intensity import (
    BiasField,
    Blur,
    Brightness,
    Contrast,
    ContrastDropout,
    Gamma,
    LowResolution,
    Noise,
)
from softseg.augment.intensity.step import IntensityStep
from softseg.augment.random_step import Parameters
from softseg.core.ranks import BatchPart
from softseg.core.seeds import generator

STEPS: list[IntensityStep] = [
    Noise(),
    Noise(distribution="rician"),
    Blur(),
    LowResolution(),
    Brightness(),
    Contrast(),
    Gamma(),
    Gamma(inverted=True),
    BiasField(),
    ContrastDropout(probability_per_contrast=0.5),
]
SIZES = ((12, 9), (7, 8, 6))


def batch(count: int = 4, contrasts: int = 2, size: tuple[int, ...] = (12, 9)) -> Batch:
    draws = generator(3, "test")
    image = torch.randn(count, contrasts, *size, generator=draws)
    target = torch.rand(count, 1, *size, generator=draws)
    return Batch(image, target, torch.randn(count, contrasts, generator=draws) - 3)


def apply(step: IntensityStep, before: Batch, parameters: Parameters) -> Batch:
    """Apply a step to a copy, since it overwrites the image."""
    return step.apply(replace(before, image=before.image.clone()), parameters)


def run(step: IntensityStep, before: Batch, seed: int = 0) -> Batch:
    return apply(step, before, step.sample_part(before, generator(seed, "test")))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.name}")
def test_changes_only_the_image(step: IntensityStep, size: tuple[int, ...]) -> None:
    before = batch(size=size)
    after = run(step, before)
    assert after.target is before.target
    assert after.image.shape == before.image.shape
    assert after.image.isfinite().all()
    assert not torch.equal(after.image, before.image)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.name}")
def test_a_sample_does_not_depend_on_how_the_batch_is_divided(step: IntensityStep) -> None:
    step = step.model_copy(update={"probability": 0.6, "probability_per_contrast": 0.7})
    whole = batch(count=5)
    expected = run(step, whole, 1)
    for first, count in ((0, 2), (2, 3), (4, 1)):
        rows = slice(first, first + count)
        part = Batch(
            whole.image[rows],
            whole.target[rows],
            whole.fill[rows],
            part=BatchPart(first, count, 5, 1),
        )
        actual = run(step, part, 1)
        assert torch.equal(actual.image, expected.image[rows])
        assert torch.equal(actual.fill, expected.fill[rows])


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.name}")
def test_probabilities_of_samples_and_contrasts(step: IntensityStep) -> None:
    step = step.model_copy(update={"probability": 0.3, "probability_per_contrast": 0.5})
    changed = step.sample((4000, 3, 4, 4), generator(0, "test"))["changed"]
    assert changed.any(dim=1).float().mean() == pytest.approx(0.3 * (1 - 0.5**3), abs=0.03)
    if not isinstance(step, ContrastDropout):
        assert changed.float().mean() == pytest.approx(0.15, abs=0.02)


def test_a_step_with_probability_0_returns_the_same_batch() -> None:
    before = batch()
    assert Blur(probability=0)(before, generator(0, "test")) is before


def test_contrasts_share_their_parameters_if_asked() -> None:
    step = Brightness(same_for_contrasts=True)
    factors = step.sample((5, 3, 4, 4), generator(0, "test"))["factor"]
    assert (factors == factors[:, :1]).all()
    assert len(factors[:, 0].unique()) == 5


@pytest.mark.parametrize(
    ("step", "name", "limits"),
    [
        (Noise(std=(0.02, 0.1)), "std", (0.02, 0.1)),
        (Blur(sigma=(0.5, 2)), "sigma", (0.5, 2)),
        (LowResolution(zoom=(0.4, 0.9)), "zoom", (0.4, 0.9)),
        (BiasField(strength=(0.1, 0.3)), "strength", (0.1, 0.3)),
    ],
)
def test_parameters_are_uniform(
    step: IntensityStep, name: str, limits: tuple[float, float]
) -> None:
    values = step.sample((3000, 1, 4, 4), generator(0, "test"))[name].flatten()
    low, high = limits
    assert stats.kstest(values.numpy(), stats.uniform(low, high - low).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("step", "name"), [(Brightness(), "factor"), (Contrast(), "factor"), (Gamma(), "exponent")]
)
def test_half_of_the_factors_are_below_1(step: IntensityStep, name: str) -> None:
    low, high = getattr(step, name)
    values = step.sample((3000, 1, 4, 4), generator(0, "test"))[name].flatten().numpy()
    positions = np.where(
        values < 1, (values - low) / (1 - low) / 2, (values - 1) / (high - 1) / 2 + 0.5
    )
    assert stats.kstest(positions, stats.uniform.cdf).pvalue > 1e-3


@pytest.mark.parametrize("size", SIZES)
def test_blur_is_scipys_gaussian(size: tuple[int, ...]) -> None:
    before = batch(size=size)
    step = Blur(sigma=(0.3, 3))
    parameters = step.sample(tuple(before.image.shape), generator(0, "test"))
    after = apply(step, before, parameters)
    for sample, contrast in np.ndindex(4, 2):
        sigma = float(parameters["sigma"][sample, contrast])
        source = before.image[sample, contrast].double().numpy()
        expected = ndimage.gaussian_filter(source, sigma, mode="reflect", truncate=4 * 3 / sigma)
        np.testing.assert_allclose(after.image[sample, contrast], expected, atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_low_resolution_is_torchs_interpolation(size: tuple[int, ...]) -> None:
    before = batch(size=size)
    step = LowResolution(zoom=(0.3, 1))
    parameters = step.sample(tuple(before.image.shape), generator(0, "test"))
    after = apply(step, before, parameters)
    mode = {2: "bilinear", 3: "trilinear"}[len(size)]
    for sample, contrast in np.ndindex(4, 2):
        zoom = float(parameters["zoom"][sample, contrast])
        source = before.image[sample, contrast][None, None]
        coarse = [round(length * zoom) for length in size]
        low = torch.nn.functional.interpolate(source, coarse, mode="nearest-exact")
        expected = torch.nn.functional.interpolate(low, size, mode=mode)[0, 0]
        torch.testing.assert_close(after.image[sample, contrast], expected, atol=1e-5, rtol=0)


def test_low_resolution_of_one_axis_leaves_the_other() -> None:
    before = batch()
    rows = torch.arange(12.0)[:, None].expand(12, 9)
    before = Batch(rows.expand(4, 2, 12, 9).clone(), before.target, before.fill)
    after = run(LowResolution(zoom=(0.5, 0.5), axes=(1,)), before)
    torch.testing.assert_close(after.image, before.image)


def test_brightness_multiplies_image_and_background() -> None:
    before = batch()
    parameters = Brightness().sample((4, 2, 12, 9), generator(0, "test"))
    after = apply(Brightness(), before, parameters)
    factor = parameters["factor"]
    torch.testing.assert_close(after.image, before.image * factor[..., None, None])
    torch.testing.assert_close(after.fill, before.fill * factor)


@pytest.mark.parametrize("preserve", [True, False])
def test_contrast_stretches_about_the_mean(preserve: bool) -> None:
    before, step = batch(), Contrast(preserve_range=preserve)
    parameters = step.sample((4, 2, 12, 9), generator(0, "test"))
    after = apply(step, before, parameters)
    for sample, contrast in np.ndindex(4, 2):
        source = before.image[sample, contrast].numpy()
        factor = float(parameters["factor"][sample, contrast])
        expected = (source - source.mean()) * factor + source.mean()
        if preserve:
            expected = expected.clip(source.min(), source.max())
        np.testing.assert_allclose(after.image[sample, contrast], expected, atol=1e-5)


@pytest.mark.parametrize("inverted", [True, False])
@pytest.mark.parametrize("retain", [True, False])
def test_gamma_raises_intensities_to_a_power(inverted: bool, retain: bool) -> None:
    before, step = batch(), Gamma(inverted=inverted, retain_statistics=retain)
    parameters = step.sample((4, 2, 12, 9), generator(0, "test"))
    after = apply(step, before, parameters)
    sign = -1 if inverted else 1
    for sample, contrast in np.ndindex(4, 2):
        source = sign * before.image[sample, contrast].double().numpy()
        extent = np.ptp(source)
        power = float(parameters["exponent"][sample, contrast])
        expected = ((source - source.min()) / extent) ** power * extent + source.min()
        if retain:
            expected = (expected - expected.mean()) / expected.std() * source.std() + source.mean()
        np.testing.assert_allclose(after.image[sample, contrast], sign * expected, atol=1e-4)


def test_a_background_within_the_image_is_mapped_like_its_voxels() -> None:
    before = batch()
    fill = before.image[..., 3, 4].clone()
    for step in (Brightness(), Contrast(), Gamma(), Gamma(inverted=True)):
        after = run(step, Batch(before.image, before.target, fill))
        torch.testing.assert_close(after.fill, after.image[..., 3, 4])


def test_a_constant_image_survives_every_step() -> None:
    flat = Batch(torch.full((2, 1, 8, 8), 0.5), torch.zeros(2, 1, 8, 8), torch.full((2, 1), 0.5))
    for step in STEPS:
        assert run(step, flat).image.isfinite().all()


@pytest.mark.parametrize("size", SIZES)
def test_bias_field_is_torchios(size: tuple[int, ...]) -> None:
    step, before = BiasField(strength=(0.5, 0.5), order=3), batch(1, 1, size)
    parameters = step.sample((1, 1, *size), generator(0, "test"))
    after = apply(step, before, parameters)
    volume = size if len(size) == 3 else (*size, 1)
    coefficients = 0.5 * step._coefficients(len(size), int(parameters["seed"]))
    # TorchIO lists the terms x^i y^j z^k with nested loops over i, j and k
    terms = [
        float(coefficients[(i, j, k)[: len(size)]]) if len(size) == 3 or k == 0 else 0.0
        for i in range(4)
        for j in range(4 - i)
        for k in range(4 - (i + j))
    ]
    field = (
        torchio.transforms.augmentation.intensity.random_bias_field.BiasField.generate_bias_field(
            torch.ones(1, *volume), 3, terms
        )
    )
    fill = float(before.fill)
    expected = (before.image[0, 0].numpy() - fill) * np.asarray(field).reshape(size) + fill
    np.testing.assert_allclose(after.image[0, 0], expected, rtol=1e-4, atol=1e-4)


def test_gaussian_noise_has_the_sampled_standard_deviation() -> None:
    still = Batch(torch.zeros(3, 2, 200, 200), torch.zeros(3, 1, 200, 200), torch.zeros(3, 2))
    parameters = Noise(std=(0.1, 2)).sample((3, 2, 200, 200), generator(0, "test"))
    noise = apply(Noise(), still, parameters).image
    for sample, contrast in np.ndindex(3, 2):
        std = float(parameters["std"][sample, contrast])
        values = noise[sample, contrast].flatten().numpy() / std
        assert stats.kstest(values, stats.norm.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(noise[0, 0].flatten(), noise[0, 1].flatten())[0, 1]) < 0.03


def test_contrasts_with_the_same_standard_deviation_have_noise_of_their_own() -> None:
    still = Batch(torch.zeros(2, 2, 50, 50), torch.zeros(2, 1, 50, 50), torch.zeros(2, 2))
    noise = run(Noise(std=(0.5, 2), same_for_contrasts=True), still).image.flatten(2)
    assert abs(np.corrcoef(noise[0, 0], noise[0, 1])[0, 1]) < 0.1
    std = noise.std(dim=2)
    torch.testing.assert_close(std[:, 0], std[:, 1], rtol=0.1, atol=0)


def test_an_image_that_is_not_contiguous_is_changed_too() -> None:
    image = torch.rand(2, 6, 5, 3).movedim(3, 1)
    before = Batch(image, torch.zeros(2, 1, 6, 5), torch.zeros(2, 3))
    after = Brightness(factor=(2, 2))(before, generator(0, "test"))
    torch.testing.assert_close(after.image, 2 * image)


def test_rician_noise_is_that_of_a_magnitude() -> None:
    signal, fill, std = 1.5, -2.0, 0.7
    image = torch.full((1, 1, 200, 200), fill + signal)
    still = Batch(image, torch.zeros(1, 1, 200, 200), torch.full((1, 1), fill))
    noisy = Noise(std=(std, std), distribution="rician")(still, generator(0, "test")).image
    magnitude = stats.rice(signal / std, scale=std)
    assert stats.kstest(noisy.flatten().numpy() - fill, magnitude.cdf).pvalue > 1e-3


def test_contrast_dropout_leaves_a_contrast() -> None:
    before = batch(count=200, contrasts=3)
    after = run(ContrastDropout(probability_per_contrast=0.9), before)
    dropped = (after.image == before.fill[..., None, None]).flatten(2).all(dim=2)
    assert dropped.sum(dim=1).max() == 2
    assert dropped.sum(dim=1).float().mean() > 1.5
    assert (after.image[~dropped] == before.image[~dropped]).all()


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Noise, {"std": [-1, 0]}),
        (Noise, {"std": [0.2, 0.1]}),
        (Blur, {"sigma": [-0.1, 1]}),
        (LowResolution, {"zoom": [0, 1]}),
        (LowResolution, {"zoom": [0.5, 1.5]}),
        (Brightness, {"factor": [-1, 2]}),
        (Gamma, {"exponent": [0, 2]}),
        (BiasField, {"order": 0}),
        (Contrast, {"probability": 1.5}),
        (Contrast, {"probability_per_contrast": -0.1}),
    ],
)
def test_impossible_values_are_rejected(kind: type[Any], fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(fields, strict=False)
