"""`transformation` is converted to preprocessing and augmentation, with ivadomed's axes."""

from __future__ import annotations

import pytest

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.interop.from_ivadomed.convert import convert, write_config
from tests.support.ivadomed.everything import EVERYTHING
from tests.support.ivadomed.published import changed, published, save

TRAINING = {"dataset_type": ["training"]}


@pytest.fixture
def converted(tmp_path):
    def run(config):
        file, out = save(config, tmp_path), tmp_path / "out.yaml"
        conversion = convert(file)
        write_config(conversion, file, out, overwrite=True)
        return conversion, load_config(out, Experiment)

    return run


@pytest.mark.parametrize(
    ("axis", "zooms", "size"),
    [
        # ivadomed's height and width are x, y | z, x | z, y of an axial, coronal, sagittal slice
        ("axial", (0.5, 0.75, None), (48, 64)),
        ("coronal", (0.75, None, 0.5), (64, 48)),
        ("sagittal", (None, 0.75, 0.5), (64, 48)),
    ],
)
def test_height_and_width_are_assigned_to_the_right_axes(axis, zooms, size, converted):
    _, experiment = converted(changed(EVERYTHING, loader_parameters__slice_axis=axis))
    resample, crop, _ = experiment.preprocess
    assert resample.zooms == zooms
    assert crop.size == size


def test_steps_keep_the_order_of_the_json_except_that_normalization_is_last(converted):
    base = changed(
        published("scgm"),
        transformation={
            "NormalizeInstance": {},
            "CenterCrop": {"size": [64, 64]},
            "Resample": {"hspace": 1, "wspace": 1},
            "RandomReverse": TRAINING,
            "RandomAffine": {"degrees": 5, **TRAINING},
        },
    )
    _, experiment = converted(base)
    assert [step.name for step in experiment.preprocess] == ["crop", "resample", "standardize"]
    assert [step.name for step in experiment.augment] == ["RandomFlip", "affine"]


def test_without_normalization_nothing_is_standardized(converted):
    _, experiment = converted(changed(published("scgm"), transformation={}))
    assert experiment.preprocess == ()


def test_the_bias_field_has_the_probability_in_effect(converted):
    conversion, experiment = converted(EVERYTHING)
    [field] = [step for step in experiment.augment if step.name == "RandomBiasField"]
    assert field.model_extra["p"] == 0.25
    assert "twice" in conversion.warnings["transformation.RandomBiasField.p"]


def test_augmentation_of_other_sets_is_warned_about(converted):
    conversion, _ = converted(EVERYTHING)
    assert "training, validation" in conversion.warnings["transformation.RandomAffine.dataset_type"]
    assert "all sets" in conversion.warnings["transformation.RandomReverse"]


def test_the_unconditional_flip_of_2_2_is_warned_about(converted):
    reverse = {"RandomReverse": TRAINING}
    conversion, _ = converted(changed(published("ms"), transformation=reverse))
    assert "every time" in conversion.warnings["transformation.RandomReverse"]
    conversion, _ = converted(changed(EVERYTHING, transformation=reverse))
    assert "transformation.RandomReverse" not in conversion.warnings


def test_an_asymmetric_range_of_angles_is_noted(converted):
    conversion, experiment = converted(EVERYTHING)
    [affine] = [step for step in experiment.augment if step.name == "affine"]
    assert (affine.rotation, affine.translation) == (10, 0.05)
    assert "[-10, 5]" in conversion.notes["augment", 1, "affine", "rotation"]


@pytest.mark.parametrize(("spacing", "noted"), [((1, 1), False), ((0.5, 1), True), (None, True)])
def test_rotations_of_oblong_pixels_are_noted(converted, spacing, noted):
    steps = {"RandomAffine": {"degrees": 5, **TRAINING}}
    if spacing:
        steps["Resample"] = dict(zip(("hspace", "wspace"), spacing, strict=True))
    conversion, _ = converted(changed(published("scgm"), transformation=steps))
    note = conversion.notes["augment", 0, "affine", "rotation"]
    assert ("softseg turns them in mm" in note) == noted


@pytest.mark.parametrize(
    ("axis", "scale", "expected"),
    [
        ("axial", [0.1, 0.2, 0.5], (0.1, 0.2)),
        ("coronal", [0.1, 0.2], (0.2, 0.1)),  # ivadomed's height is inferior-superior
        ("axial", [], 0.0),
        ("axial", [0.3], 0.3),
    ],
)
def test_each_axis_keeps_its_scale(converted, axis, scale, expected):
    affine = {"degrees": 5, "scale": scale, "translate": [0.05, 0.1], **TRAINING}
    steps = {"transformation": {"RandomAffine": affine}, "loader_parameters__slice_axis": axis}
    conversion, experiment = converted(changed(published("scgm"), **steps))
    [step] = experiment.augment
    assert (step.scale, step.translation, step.whole_pixels) == (expected, 0.1, True)
    assert "the largest one" in conversion.notes["augment", 0, "affine", "translation"]


def test_masks_are_binarized_last_and_the_rounding_of_2_2_is_warned_about(converted):
    conversion, experiment = converted(published("brats"))
    assert experiment.augment[-1].name == "binarize"
    assert experiment.augment[-1].threshold == 0.5
    assert "once, at the end" in conversion.warnings["loader_parameters.soft_gt"]


def test_soft_masks_are_noted_to_stay_soft(converted):
    conversion, _ = converted(published("scgm"))
    assert "not made binary" in conversion.notes[("augment",)]


def test_the_joint_normalization_of_2_2_is_carried_over_and_warned_about(converted):
    conversion, experiment = converted(published("ms"))
    assert experiment.preprocess[-1].joint
    assert "together" in conversion.warnings["loader_parameters.multichannel"]
    for config in (published("scgm"), EVERYTHING):  # one contrast, and ivadomed 2.9
        conversion, experiment = converted(config)
        assert not experiment.preprocess[-1].joint
        assert "loader_parameters.multichannel" not in conversion.warnings
