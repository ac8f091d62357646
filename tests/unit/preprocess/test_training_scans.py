"""What is recorded of the training scans, and which differences of a new scan are reported."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from softseg.data.nifti.grid import Grid
from softseg.data.sample import Sample
from softseg.preprocess.training_scans import (
    TrainingScans,
    differences_from_training,
    recorded_training_scans,
    scan_quantiles,
)

SHAPE = (40, 30, 10)
ZOOMS = (1.0, 1.0, 2.0)


def contrast(seed, kind):
    """`skewed`: mostly dark with a bright tail; `symmetric`: normally distributed."""
    rng = np.random.default_rng(seed)
    values = rng.exponential(50, SHAPE) if kind == "skewed" else rng.normal(100, 20, SHAPE)
    return values.astype(np.float32)


def grid(shape=SHAPE, zooms=ZOOMS):
    return Grid(shape, np.diag([*zooms, 1.0]))


TRAINING = TrainingScans.of(
    [grid(), grid((44, 33, 11))],
    {
        "T1w": [scan_quantiles(contrast(seed, "symmetric")) for seed in (1, 2)],
        "FLAIR": [scan_quantiles(contrast(seed, "skewed")) for seed in (3, 4)],
    },
    {"lesion": [1.0, 4.0]},
)
IMAGES = {"T1w": contrast(7, "symmetric"), "FLAIR": contrast(8, "skewed")}


def differences(grid_=None, images=IMAGES, volume=2.0):
    return TRAINING.differences(grid_ or grid(), images, {"lesion": volume})


def test_a_scan_like_those_of_training_has_no_differences():
    assert differences() == []


def test_quantiles_do_not_depend_on_the_scale_of_the_intensities():
    image = contrast(0, "skewed")
    assert scan_quantiles(3 * image + 1000) == pytest.approx(scan_quantiles(image), abs=1e-3)


def test_quantiles_of_a_normal_distribution_are_those_of_the_closed_form():
    image = np.random.default_rng(0).normal(5, 3, (100, 100, 40))
    expected = [-2.326, -1.282, -0.674, 0, 0.674, 1.282, 2.326]
    assert scan_quantiles(image) == pytest.approx(expected, abs=0.02)


def test_a_constant_scan_has_quantiles_of_0():
    assert scan_quantiles(np.full(SHAPE, 7, np.float32)) == (0,) * 7


def test_a_cut_field_of_view_is_reported_along_every_axis_in_any_orientation():
    cut = grid((40, 30, 7))  # 14 mm instead of 20 to 22
    assert differences(cut) == [
        "a field of view of 40 x 30 x 14 mm (in training 40-44 x 30-33 x 20-22 mm)"
    ]
    affine = np.array([[0, 0, 1.0, 0], [1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1]])
    assert differences(Grid((30, 7, 40), affine)) == differences(cut)


def test_other_voxel_sizes_are_reported():
    [found] = differences(grid((20, 15, 10), (2.0, 2.0, 2.0)))
    assert found == "voxels of 2 x 2 x 2 mm (in training 1 x 1 x 2 mm)"


def test_exchanged_contrasts_are_reported_for_both():
    exchanged = {"T1w": IMAGES["FLAIR"], "FLAIR": IMAGES["T1w"]}
    assert differences(images=exchanged) == [
        "T1w looks like FLAIR in training (are the two files exchanged?)",
        "FLAIR looks like T1w in training (are the two files exchanged?)",
    ]


def test_unusual_intensities_of_one_contrast_are_reported():
    half_empty = IMAGES["T1w"] * (np.arange(40) < 10)[:, None, None]
    [found] = differences(images={**IMAGES, "T1w": half_empty})
    assert re.match(r"intensities of T1w: \d+ % of the voxels are below ", found)


@pytest.mark.parametrize(
    ("volume", "reported"), [(0.0, True), (0.49, True), (0.51, False), (7.9, False), (8.1, True)]
)
def test_predicted_volumes_beyond_half_and_twice_those_of_training_are_reported(volume, reported):
    expected = [f"{volume:.3g} ml of lesion (in training 1-4 ml)"] if reported else []
    assert differences(volume=volume) == expected


def test_the_record_in_a_run_describes_the_same_scans():
    metadata = json.loads(json.dumps({"training_scans": TRAINING.model_dump(mode="json")}))
    assert recorded_training_scans(metadata) == TRAINING
    assert recorded_training_scans({}) is None
    image = np.stack(list(IMAGES.values()))
    sample = Sample(image, np.zeros((0, *SHAPE), np.float32), None, (), grid(), {})
    soft = np.full((1, *SHAPE), 0.25, np.float32)  # 12000 voxels of 2 mm3: 6 ml
    names = (list(IMAGES), ["lesion"], soft)
    training = recorded_training_scans(metadata)
    assert differences_from_training(training, sample, *names) == []
    assert differences_from_training(training, sample, *names[:2], 2 * soft) == [
        "12 ml of lesion (in training 1-4 ml)"
    ]
    assert differences_from_training(None, sample, *names[:2], 2 * soft) == []
