"""The `preprocess:` list of a YAML file: which chains are valid, and what their order means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from softseg.preprocess.preprocess import preprocess
from softseg.preprocess.slices import Slices
from softseg.preprocess.steps import Crop, Resample, Standardize
from tests.support.preprocess_samples import noise, sample
from tests.support.steps import preprocess_steps


def test_the_published_chain_in_short_form():
    chain = [
        {"standardize": {"over": "volume", "region": "all", "joint": False}},
        {"resample": {"zooms": [0.25, 0.25, None], "image_order": 2, "label_order": 1}},
        {"crop": {"size": [128, 128], "around": "image"}},
    ]
    expected = (Standardize(), Resample(zooms=(0.25, 0.25, None)), Crop(size=(128, 128)))
    assert preprocess_steps(chain) == expected
    assert preprocess_steps(expected_as_yaml(expected)) == expected
    assert preprocess_steps([{"standardize": None}]) == (Standardize(),)
    assert preprocess_steps([]) == ()


def expected_as_yaml(steps):
    """As `config.yaml` writes them, with every field."""
    return [
        {fields.pop("name"): fields} for fields in (step.model_dump(mode="json") for step in steps)
    ]


INVALID = [
    ([{"crop": {"size": [4, 4]}}, {"crop": {"size": [2, 2]}}], "`crop` appears twice"),
    ([{"standardize": {"over": "slice"}}, {"crop": {"size": [4, 4]}}], "must be the last step"),
    ([{"normalize": {}}], "normalize"),
    ([{"crop": {"size": [4, 4], "center": "roi"}}], "center"),
    ([{"crop": {}}], "size"),
    ([{"crop": {"size": [4]}}], "size"),
    ([{"crop": {"size": [4, 0]}}], "greater than or equal to 1"),
    ([{"crop": {"size": [4, 4.5]}}], "size"),
    ([{"resample": {}}], "zooms"),
    ([{"resample": {"zooms": [0.5, 0.5]}}], "zooms"),
    ([{"resample": {"zooms": [0.5, 0, None]}}], "greater than 0"),
    ([{"resample": {"zooms": [0.5, "0.5", None]}}], "zooms"),
    ([{"resample": {"zooms": [1, 1, 1], "image_order": 0}}], "image_order"),
    ([{"standardize": {"region": "brain"}}], "region"),
]


@pytest.mark.parametrize(("chain", "message"), INVALID)
def test_invalid_chains_are_rejected_when_the_yaml_is_read(chain, message):
    with pytest.raises(ValidationError, match=message):
        preprocess_steps(chain)


def test_standardizing_slices_may_be_the_only_step_or_the_last():
    assert preprocess_steps([{"standardize": {"over": "slice"}}])
    assert preprocess_steps([{"crop": {"size": [4, 4]}}, {"standardize": {"over": "slice"}}])


def network_shape(*chain, shape=(16, 12, 3)):
    return preprocess(
        sample(noise(shape)), preprocess_steps(list(chain)), Slices()
    ).geometry.network


def test_the_size_of_a_crop_counts_voxels_of_the_grid_before_it():
    resample, crop = {"resample": {"zooms": [0.5, 0.5, None]}}, {"crop": {"size": [8, 8]}}
    fine = network_shape(resample, crop)
    assert fine.shape == (8, 8, 3)
    assert fine.zooms.tolist() == [0.5, 0.5, 1]
    wide = network_shape(crop, resample)
    assert wide.shape == (16, 16, 3)
    assert wide.zooms.tolist() == [0.5, 0.5, 1]


@given(height=st.integers(1, 24), width=st.integers(1, 24))
def test_a_crop_gives_its_size_whether_it_crops_or_pads(height, width):
    grid = network_shape({"crop": {"size": [height, width]}})
    assert grid.shape == (height, width, 3)


def test_null_zooms_do_not_resample_that_axis():
    grid = network_shape({"resample": {"zooms": [None, 0.5, 3]}})
    assert grid.shape == (16, 24, 1)
    assert grid.zooms.tolist() == [1, 0.5, 3]


def test_coarse_zooms_leave_at_least_one_voxel():
    assert network_shape({"resample": {"zooms": [100, 100, 100]}}).shape == (1, 1, 1)
