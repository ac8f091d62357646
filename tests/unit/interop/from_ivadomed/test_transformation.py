"""`transformation` becomes preprocessing and augmentation, in ivadomed's axes."""

from __future__ import annotations

import pytest

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.interop.from_ivadomed import convert, write_config
from tests.support.ivadomed.everything import EVERYTHING
from tests.support.ivadomed.published import changed, published, save

TRAINING = {"dataset_type": ["training"]}


@pytest.fixture
def converted(tmp_path):
    def run(config):
        file, out = save(config, tmp_path), tmp_path / "out.yaml"
        what = convert(file)
        write_config(what, file, out, overwrite=True)
        return what, load_config(out, Experiment)

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
def test_height_and_width_of_ivadomeds_slices_find_their_axes(axis, zooms, size, converted):
    _, experiment = converted(changed(EVERYTHING, loader_parameters__slice_axis=axis))
    resample, crop, _ = experiment.preprocess
    assert resample.zooms == zooms
    assert crop.size == size


def test_steps_keep_the_order_of_the_json_but_each_slice_is_normalized_last(converted):
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


def test_what_is_not_normalized_there_is_not_here(converted):
    _, experiment = converted(changed(published("scgm"), transformation={}))
    assert experiment.preprocess == ()


def test_the_bias_field_comes_as_often_as_it_did(converted):
    what, experiment = converted(EVERYTHING)
    [field] = [step for step in experiment.augment if step.name == "RandomBiasField"]
    assert field.model_extra["p"] == 0.25
    assert "twice" in what.warnings["transformation.RandomBiasField.p"]


def test_augmentation_of_other_sets_is_warned_of(converted):
    what, _ = converted(EVERYTHING)
    assert "training, validation" in what.warnings["transformation.RandomAffine.dataset_type"]
    assert "all sets" in what.warnings["transformation.RandomReverse"]


def test_the_flip_that_2_2_always_did_is_warned_of(converted):
    reverse = {"RandomReverse": TRAINING}
    what, _ = converted(changed(published("ms"), transformation=reverse))
    assert "every time" in what.warnings["transformation.RandomReverse"]
    what, _ = converted(changed(EVERYTHING, transformation=reverse))
    assert "transformation.RandomReverse" not in what.warnings


def test_a_range_of_angles_beside_0_is_said_to_be_drawn_about_it(converted):
    what, experiment = converted(EVERYTHING)
    [affine] = [step for step in experiment.augment if step.name == "affine"]
    assert (affine.rotation, affine.translation, affine.scale) == (10, 0.05, 0.2)
    assert "[-10, 5]" in what.notes["augment", 1, "affine", "rotation"]


def test_hard_masks_are_made_last_and_the_rounding_of_2_2_is_told(converted):
    what, experiment = converted(published("brats"))
    assert experiment.augment[-1].name == "binarize"
    assert experiment.augment[-1].threshold == 0.5
    assert "once, at the end" in what.warnings["loader_parameters.soft_gt"]


def test_soft_masks_are_said_to_stay_soft(converted):
    what, _ = converted(published("scgm"))
    assert "not made binary" in what.notes[("augment",)]


def test_contrasts_that_2_2_normalized_together_are_warned_of(converted):
    what, _ = converted(published("ms"))
    assert "together" in what.warnings["loader_parameters.multichannel"]
    what, _ = converted(EVERYTHING)
    assert "loader_parameters.multichannel" not in what.warnings
