"""Each augmentation step at its extremes: what changes, by how much, and how it is described."""

from __future__ import annotations

import math

import pytest
import torch

from softseg.augment import Batch
from softseg.augment.extremes import extremes
from softseg.augment.random_step import seeded
from tests.support.steps import augment_steps

MINUS = "\N{MINUS SIGN}"


def batch(contrasts=1, slices=2):
    """Random images, and squares of 8 voxels as soft masks, at different places."""
    image = torch.rand(slices, contrasts, 24, 24, generator=seeded(0))
    target = torch.zeros(slices, 1, 24, 24)
    for k in range(slices):
        target[k, 0, 4 + k : 12 + k, 6:14] = 0.8
    return Batch(image, target, torch.full((slices, contrasts), -0.3), target_names=("gm",))


def of(spec, data=None):
    [step] = augment_steps([spec])
    return extremes(step, data or batch())


@pytest.mark.parametrize(
    ("spec", "texts"),
    [
        (
            {"affine": {"rotation": 10, "translation": 0.05, "scale": 0.2, "shear": 0.1}},
            [
                f"rotation {MINUS}10°, translation {MINUS}5 %, scale 0.8, shear {MINUS}0.1",
                "rotation 10°, translation 5 %, scale 1.2, shear 0.1",
            ],
        ),
        (
            {"affine": {"rotation": 0, "translation": 0, "scale": [0.1, 0.2]}},
            ["scale 0.9 and 0.8", "scale 1.1 and 1.2"],
        ),
        (
            {"affine": {"rotation": 0, "translation": 0, "scale_range": [0.7, 1.4]}},
            ["scale 0.7", "scale 1.4"],
        ),
        (
            {"elastic": {"magnitude": [0, 4], "scale": [15, 30], "probability": 0.1}},
            [
                f"magnitude 4\N{NO-BREAK SPACE}mm, scale {scale}\N{NO-BREAK SPACE}mm"
                for scale in (15, 30)
            ],
        ),
        ({"flip": {"axes": [0, 1]}}, ["axis 0", "axis 1"]),
        ({"low_resolution": {"zoom": [0.5, 1], "axes": [0]}}, ["zoom 0.5, axes [0]"]),
        ({"noise": {"std": [0, 0.1]}}, ["std 0.1"]),
        (
            {"noise": {"std": [0.05, 0.1], "distribution": "rician"}},
            ["std 0.05, distribution rician", "std 0.1, distribution rician"],
        ),
        ({"bias_field": {}}, ["strength 0.5"]),  # a strength of 0 changes nothing but rounding
        ({"blur": {"probability": 0.1}}, ["sigma 0.5", "sigma 1"]),
        ({"gamma": {"inverted": True}}, ["exponent 0.7, inverted", "exponent 1.5, inverted"]),
        ({"mixup": {}}, ["half of each of two slices"]),
        ({"binarize": {}}, ["threshold 0.5"]),
        (
            {"RandomGamma": {"log_gamma": 0.5, "p": 0.1}},
            ["random sample 1, log gamma 0.5", "random sample 2, log gamma 0.5"],
        ),
        ({"contrast_dropout": {}}, ["changes nothing here"]),  # there is one contrast only
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_extremes_have_the_values_of_the_limits(spec, texts):
    assert [text for text, _ in of(spec)] == texts


def test_the_batch_is_as_it_was():
    before, data = batch(), batch()
    for spec in ({"brightness": {}}, {"flip": {"axes": [0]}}, {"affine": {}}, {"RandomNoise": {}}):
        [(_, result), *_] = of(spec, data)
        assert not torch.equal(result.image, data.image)
        torch.testing.assert_close((data.image, data.target), (before.image, before.target))


def test_steps_reach_their_limits_whatever_their_probability():
    data = batch()
    low, high = (result for _, result in of({"brightness": {"probability": 0.01}}, data))
    torch.testing.assert_close((low.image, high.image), (0.75 * data.image, 1.25 * data.image))
    for text, result in of({"flip": {"axes": [0, 1], "probability": 0}}, data):
        assert torch.equal(result.target, data.target.flip(2 + int(text[-1])))


def test_the_mask_moves_with_an_affine_and_stays_with_intensities():
    data = batch()
    spec = {"affine": {"rotation": 0, "translation": 0, "scale": 0.2, "probability": 0.01}}
    for factor, (_, result) in zip((0.8, 1.2), of(spec, data), strict=True):
        ratio = float(result.target[0].sum() / data.target[0].sum())
        assert math.isclose(ratio, factor**2, rel_tol=0.05)
    for _, result in of({"low_resolution": {}}, data):
        assert torch.equal(result.target, data.target)


def test_the_limits_of_an_affine_are_those_that_it_samples():
    """No sample is beyond them, and the samples come close to them."""
    spec = {"rotation": 30, "translation": 0.1, "scale": [0.1, 0.3], "shear": 0.2}
    [step] = augment_steps([{"affine": spec}])
    shape = (2000, 1, 24, 24)
    sampled = step.sample(shape, seeded(0))
    for sign, extreme in ((-1, "amin"), (1, "amax")):
        limit = step.at_limit(shape, sign)
        for name in ("angles", "translation", "scale", "shear"):
            reached = getattr(sampled[name], extreme)(dim=0)
            torch.testing.assert_close(reached, limit[name][0], atol=5e-3, rtol=0)


def test_whole_pixels_are_whole_at_the_limits():
    [step] = augment_steps([{"affine": {"translation": 0.1, "whole_pixels": True}}])
    torch.testing.assert_close(
        24 * step.at_limit((1, 1, 24, 24), 1)["translation"][0], torch.tensor([2.0, 2.0])
    )


def test_contrast_dropout_keeps_one_contrast():
    for _, result in of({"contrast_dropout": {"probability": 0.01}}, batch(contrasts=3)):
        assert (result.image[0].std(dim=(1, 2)) > 0).sum() == 1


def test_mixup_takes_half_of_two_slices():
    data = batch()
    [(_, result)] = of({"mixup": {}}, data)
    torch.testing.assert_close(result.target[0], data.target.mean(dim=0))
    [(text, _)] = of({"mixup": {}}, batch(slices=1))
    assert text == "changes nothing here"
