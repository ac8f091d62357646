from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from softseg.metrics.postprocess import postprocess
from tests.support.lesions import masks, objects
from tests.support.steps import POSTPROCESS, postprocess_steps

CONNECTIVITIES = st.sampled_from([6, 18, 26])
ONE = masks(1).map(lambda volumes: volumes[0])


def of_voxels(voxels, shape):
    volume = np.zeros(shape, bool)
    for voxel in voxels:
        volume[voxel] = True
    return volume


def one_step(mask, name, fields=None, voxel_mm3=1.0, slice_axis=2):
    return postprocess(mask, postprocess_steps([{name: fields}]), voxel_mm3, slice_axis)


@settings(max_examples=200, deadline=None)
@given(ONE, CONNECTIVITIES, st.integers(0, 5))
def test_remove_small_equals_a_filter_of_sets_of_voxels(mask, connectivity, minimum):
    large = [one for one in objects(mask, connectivity) if len(one) >= minimum]
    expected = of_voxels(set().union(*large), mask.shape)
    fields = {"connectivity": connectivity, "minimum": minimum}
    assert np.array_equal(one_step(mask, "remove_small", fields), expected)
    mm3 = {**fields, "minimum": minimum * 0.1, "unit": "mm3"}
    voxel_mm3 = float(np.float32(0.1))  # as a file holds it
    assert np.array_equal(one_step(mask, "remove_small", mm3, voxel_mm3), expected)


@settings(max_examples=200, deadline=None)
@given(ONE, CONNECTIVITIES)
def test_keep_largest_keeps_the_first_of_equals(mask, connectivity):
    largest = max(objects(mask, connectivity), key=len, default=set())  # the first, as max says
    kept = one_step(mask, "keep_largest", {"connectivity": connectivity})
    assert np.array_equal(kept, of_voxels(largest, mask.shape))


@settings(max_examples=200, deadline=None)
@given(ONE)
def test_fill_holes_fills_background_that_the_outside_does_not_reach(mask):
    outside = objects(~np.pad(mask, 1), 6)[0]  # that of the first corner
    expected = ~of_voxels(outside, np.add(mask.shape, 2))[1:-1, 1:-1, 1:-1]
    assert np.array_equal(one_step(mask, "fill_holes"), expected)


@settings(max_examples=100, deadline=None)
@given(ONE, st.integers(0, 2))
def test_fill_holes_slice_by_slice(mask, axis):
    filled = one_step(mask, "fill_holes", {"over": "slice"}, slice_axis=axis)
    for plane, done in zip(np.moveaxis(mask, axis, 0), np.moveaxis(filled, axis, 0), strict=True):
        outside = objects(~np.pad(plane, 1)[..., None], 6)[0]
        assert np.array_equal(
            done, ~of_voxels(outside, (*np.add(plane.shape, 2), 1))[1:-1, 1:-1, 0]
        )


def test_only_slicewise_filling_fills_a_tube():
    tube = np.ones((3, 3, 5), bool)
    tube[1, 1] = False
    assert not one_step(tube, "fill_holes")[1, 1].any()
    assert one_step(tube, "fill_holes", {"over": "slice"}, slice_axis=2).all()
    assert not one_step(tube, "fill_holes", {"over": "slice"}, slice_axis=0)[1, 1].any()


def test_steps_are_applied_in_their_order():
    ring = np.zeros((9, 3, 1), bool)
    ring[:3] = True
    ring[1, 1] = False  # 8 voxels, 9 when filled
    remove, fill = {"remove_small": {"minimum": 9}}, {"fill_holes": {"over": "slice"}}
    assert not postprocess(ring, postprocess_steps([remove, fill]), 1.0).any()
    assert postprocess(ring, postprocess_steps([fill, remove]), 1.0).sum() == 9


def test_remove_small_has_the_minimum_of_the_published_configuration():
    mask = np.zeros((9, 9, 9), bool)
    mask[0, 0, :3] = mask[4, 4, :2] = True
    assert one_step(mask, "remove_small").sum() == 3


@pytest.mark.parametrize("step", ["remove_small", "keep_largest", "fill_holes"])
def test_an_empty_mask_stays_empty_and_the_input_is_not_modified(step):
    assert not one_step(np.zeros((2, 3, 4), bool), step).any()
    mask = np.zeros((9, 9, 9), bool)
    mask[:3, :3, :3] = mask[6, 6, 6] = True  # a hollow cube and a dot
    mask[1, 1, 1] = False
    before = mask.copy()
    done = one_step(mask, step)
    assert not np.array_equal(done, before)
    assert done.dtype == bool
    assert np.array_equal(mask, before)


def test_without_steps_the_mask_is_the_same():
    mask = np.random.default_rng(0).random((3, 3, 3)) < 0.4
    assert np.array_equal(postprocess(mask, postprocess_steps([]), 1.0), mask)


def test_soft_masks_are_rejected():
    with pytest.raises(ValueError, match="binarize"):
        postprocess(np.ones((2, 2, 2), np.float32), postprocess_steps([{"fill_holes": None}]), 1.0)


def test_a_chain_is_written_as_it_was_read():
    spec = [
        {"remove_small": {"minimum": 3.0, "unit": "mm3", "connectivity": 26}},
        {"keep_largest": {"connectivity": 6}},
        {"fill_holes": {"over": "slice"}},
    ]
    assert POSTPROCESS.dump_python(postprocess_steps(spec), mode="json") == spec


@pytest.mark.parametrize(
    "step",
    [
        {"remove_smal": {}},
        {"remove_small": {"minimum": -1}},
        {"remove_small": {"minimum": "3 mm3"}},
        {"remove_small": {"unit": "ml"}},
        {"keep_largest": {"connectivity": 8}},
        {"fill_holes": {"size": 3}},
    ],
)
def test_impossible_steps_are_rejected(step):
    with pytest.raises(ValidationError):
        postprocess_steps([step])
