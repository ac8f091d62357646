"""Whole chains of augmentation: composition, mixing, what configurations may combine."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from softseg.augment import Batch, Mixup, augment
from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.core.ranks import BatchPart
from softseg.core.seeds import generator
from tests.support.paths import CONFIGS
from tests.support.steps import augment_steps


def batch_of(count=4, size=(24, 20), **fields):
    draws = generator(0, "batch")
    image = torch.randn(count, 2, *size, generator=draws)
    target = torch.rand(count, 1, *size, generator=draws)
    return Batch(image, target, torch.zeros(count, 2) - 2, **fields)


def copied(batch):
    return batch.map_tensors(torch.clone)


def test_intensity_steps_may_be_between_spatial_steps_that_are_composed():
    spatial = [{"elastic": {"magnitude": [2, 2], "scale": [6, 9]}}, {"affine": {}}]
    [elastic, affine] = augment_steps(spatial)
    alone = augment(batch_of(), [elastic, affine], generator(1, "x"))
    between = augment_steps([spatial[0], {"brightness": {"factor": [1, 1]}}, spatial[1]])
    mixed = augment(batch_of(), between, generator(1, "x"))
    # the random numbers of the brightness come before those of the affine
    apart = augment(augment(batch_of(), [elastic], generator(1, "x")), [affine], generator(2, "x"))
    assert mixed.target.std() > apart.target.std()  # interpolated once: less blurred
    assert alone.target.std() == pytest.approx(float(mixed.target.std()), rel=0.05)


@pytest.mark.parametrize("barrier", ["binarize", "RandomNoise"])
def test_other_steps_divide_the_chain(barrier):
    steps = augment_steps([{"affine": {}}, {barrier: {}}, {"affine": {}}])
    expected, draws = batch_of(), generator(1, "x")
    for step in steps:
        expected = step(expected, draws)
    actual = augment(batch_of(), steps, generator(1, "x"))
    assert torch.equal(actual.image, expected.image)
    assert torch.equal(actual.target, expected.target)


def test_mixup_mixes_images_and_soft_targets_by_the_same_share():
    before, step = batch_of(count=200, size=(3, 2)), Mixup(alpha=0.4)
    parameters = step.sample(tuple(before.image.shape), generator(0, "x"))
    after = step.apply(copied(before), parameters)
    own, partner = parameters["share"], parameters["partner"]
    for sample in range(200):
        share, other = float(own[sample]), int(partner[sample])
        for name in ("image", "target", "fill"):
            values = getattr(before, name)
            expected = share * values[sample] + (1 - share) * values[other]
            torch.testing.assert_close(getattr(after, name)[sample], expected)
    assert own.min() >= 0.5
    folded = stats.beta(0.4, 0.4)
    cdf = lambda share: folded.cdf(share) - folded.cdf(1 - share)  # noqa: E731
    assert stats.kstest(own.numpy(), cdf).pvalue > 1e-3


def test_a_voxel_ignored_in_either_sample_of_a_mixture_is_ignored():
    ignore = torch.zeros(6, 1, 3, 2)
    ignore[2] = 1
    before = batch_of(count=6, size=(3, 2), ignore=ignore)
    share = torch.tensor([0.9, 1.0, 0.6, 0.8, 0.7, 1.0])
    partner = torch.tensor([2, 2, 0, 1, 3, 4])  # the second is not mixed
    after = Mixup().apply(copied(before), {"share": share, "partner": partner})
    assert after.ignore is not None
    assert [bool(values.all()) for values in after.ignore] == [True, False, True, *[False] * 3]


def test_a_part_of_a_mixed_batch_is_that_of_the_whole_batch():
    steps = augment_steps([{"affine": {}}, {"mixup": {}}, {"noise": {}}])
    whole = augment(batch_of(count=5), steps, generator(1, "x"))
    part = BatchPart(2, 3, 5, 1.0)
    own = whole.of_part(part)
    assert torch.equal(own.image, whole.image[2:])
    assert own.part is part
    assert own.batch_size == 5


CONTOUR = "{name: combination, terms: [{loss: {name: dice}}, {loss: {name: boundary}}]}"


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("elastic: {}", "elastic changes distances"),
        ("affine: {shear: 0.1}", "affine changes distances"),
        ("affine: {scale: [0.1, 0.2]}", "affine changes distances"),
        ("mixup: {}", "mixup mixes two contours"),
    ],
)
def test_a_contour_loss_rejects_steps_that_its_maps_cannot_follow(step, words):
    sets = [f"augment=[{step}]", f"loss={CONTOUR}"]
    with pytest.raises(UserError, match=words) as one:
        load_config(CONFIGS / "quickstart.yaml", Experiment, [f"augment=[{{{step}}}]", sets[1]])
    assert "\n" not in str(one.value)


def test_a_contour_loss_takes_flips_and_isotropic_affines():
    sets = ["augment=[{affine: {}}, {flip: {axes: [0, 1]}}]", f"loss={CONTOUR}"]
    assert len(load_config(CONFIGS / "quickstart.yaml", Experiment, sets).augment) == 2


@pytest.mark.parametrize(
    ("names", "flip", "words"),
    [
        (("left_a", "right_a"), "{}", r"add swap: \[\[left_a, right_a\]\]"),
        (("a_L", "a_R"), "{axes: [0, 1]}", r"not the targets a_L and a_R"),
        (("a", "b"), "{swap: [[a, c]]}", r"no target 'c'"),
        (("a", "b", "c"), "{swap: [[a, b], [b, c]]}", r"names b twice"),
        (("a", "b"), "{swap: [[a, a]]}", r"names a twice"),
        (("a", "b"), "{axes: [2]}", r"slices have the axes 0 and 1"),
    ],
)
def test_a_flip_must_exchange_the_targets_of_both_sides(names, flip, words):
    targets = "{" + ", ".join(f"{name}: {{}}" for name in names) + "}"
    sets = [f"dataset.targets={targets}", f"augment=[{{flip: {flip}}}]"]
    with pytest.raises(UserError, match=words):
        load_config(CONFIGS / "quickstart.yaml", Experiment, sets)


@pytest.mark.parametrize("flip", ["{}", "{axes: [1, 0]}"])
def test_a_flip_by_torchio_cannot_exchange_the_targets_of_both_sides(flip):
    sets = ["dataset.targets={left_a: {}, right_a: {}}", f"augment=[{{RandomFlip: {flip}}}]"]
    with pytest.raises(UserError, match=r"use flip: \{swap: \[\[left_a, right_a\]\]\} instead"):
        load_config(CONFIGS / "quickstart.yaml", Experiment, sets)
    for accepted in ("augment=[{RandomFlip: {axes: [1]}}]", "slices.axis=sagittal"):
        assert load_config(CONFIGS / "quickstart.yaml", Experiment, [*sets, accepted])


@pytest.mark.parametrize(
    ("names", "flip", "axis"),
    [
        (("left_a", "right_a"), "{swap: [[right_a, left_a]]}", "axial"),
        (("left_a", "right_a"), "{axes: [1]}", "axial"),
        (("left_a", "right_a"), "{}", "sagittal"),
        (("lesion", "cleft"), "{}", "axial"),
    ],
)
def test_flips_that_keep_the_sides_are_accepted(names, flip, axis):
    targets = "{" + ", ".join(f"{name}: {{}}" for name in names) + "}"
    sets = [f"dataset.targets={targets}", f"augment=[{{flip: {flip}}}]", f"slices.axis={axis}"]
    assert load_config(CONFIGS / "quickstart.yaml", Experiment, sets).augment[0].name == "flip"


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("affine: {scale: [0.1, 0.1, 0.1]}", "scale: a list has a number for each of the 2 axes"),
        ("affine: {rotation: [10, 0, 0]}", "rotation: slices turn by one angle"),
        ("flip: {axes: [2]}", "flip: axes: no axis 2"),
        ("low_resolution: {axes: [0, 2]}", "low_resolution: axes: no axis 2"),
        ("contrast_dropout: {}", "the only contrast always stays"),
    ],
)
def test_steps_fit_the_slices(step, words):
    with pytest.raises(UserError, match=words) as one:
        load_config(CONFIGS / "quickstart.yaml", Experiment, [f"augment=[{{{step}}}]"])
    assert "\n" not in str(one.value)


def test_every_step_changes_a_batch_on_average_as_often_as_its_probability():
    step = augment_steps([{"noise": {"probability": 0.3}}])
    before = batch_of(count=500, size=(2, 2))
    after = augment(copied(before), step, generator(0, "x"))
    changed = (after.image != before.image).flatten(1).any(dim=1)
    assert float(changed.float().mean()) == pytest.approx(0.3, abs=0.08)
