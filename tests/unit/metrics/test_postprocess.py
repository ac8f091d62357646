from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from softseg.metrics import binarize
from softseg.metrics.postprocess import Voxels, postprocess
from tests.support.lesions import masks, objects
from tests.support.steps import POSTPROCESS, postprocess_steps

CONNECTIVITIES = st.sampled_from([6, 18, 26])
ONE = masks(1).map(lambda volumes: volumes[0])


def of_voxels(voxels, shape):
    volume = np.zeros(shape, bool)
    for voxel in voxels:
        volume[voxel] = True
    return volume


CUBES = Voxels((1.0, 1.0, 1.0), 0.001)


def masked(mask, spec, voxels=CUBES):
    """The mask after a chain of steps."""
    return postprocess(mask.astype(np.float32), 0.5, postprocess_steps(spec), voxels)[1]


def one_step(mask, name, fields=None, voxel_mm3=1.0, slice_axis=2):
    return masked(mask, [{name: fields}], Voxels((1.0, 1.0, 1.0), voxel_mm3 / 1000, slice_axis))


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
    assert not masked(ring, [remove, fill]).any()
    assert masked(ring, [fill, remove]).sum() == 9


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
    assert np.array_equal(masked(mask, []), mask)


def test_a_chain_is_written_as_it_was_read():
    spec = [
        {"remove_small": {"minimum": 3.0, "unit": "mm3", "connectivity": 26, "apply_to": "soft"}},
        {"keep_largest": {"connectivity": 6, "apply_to": "mask"}},
        {"fill_holes": {"over": "slice", "apply_to": "soft"}},
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
        {"keep_largest": {"apply_to": "both"}},
    ],
)
def test_impossible_steps_are_rejected(step):
    with pytest.raises(ValidationError):
        postprocess_steps([step])


@st.composite
def softs(draw, longest=6):
    """Soft volumes of few values, mostly 0, and voxels of any size."""
    shape = draw(st.tuples(*[st.integers(1, longest)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    empty = draw(st.sampled_from([0.0, 0.3, 0.7]))
    soft = rng.integers(0, 11, shape) / 10 * (rng.random(shape) >= empty)
    zooms = tuple(draw(st.sampled_from([0.4, 1.0, 3.0])) for _ in range(3))
    voxels = Voxels(zooms, float(np.prod(zooms)) / 1000, draw(st.integers(0, 2)))
    return soft.astype(np.float32), voxels


REMOVALS = st.builds(
    lambda name, fields: {name: {**fields, "apply_to": "soft"}},
    st.sampled_from(["keep_largest", "remove_small"]),
    st.fixed_dictionaries({"connectivity": CONNECTIVITIES}),
)
FILLS = st.sampled_from(
    [{"fill_holes": {"apply_to": "soft", "over": over}} for over in ("volume", "slice")]
)
CHAINS = st.lists(REMOVALS | FILLS, min_size=1, max_size=3)
THRESHOLDS = st.integers(1, 19).map(lambda step: step / 20)


def softened(volume, spec, threshold):
    soft, voxels = volume
    return postprocess(soft, threshold, postprocess_steps(spec), voxels)


@settings(max_examples=100, deadline=None)
@given(softs(), CHAINS, THRESHOLDS)
def test_the_mask_is_the_soft_segmentation_at_its_threshold(volume, chain, threshold):
    soft, mask = softened(volume, chain, threshold)
    assert np.array_equal(binarize(soft, threshold), mask)
    only_mask = [
        {name: {**fields, "apply_to": "mask"}} for step in chain for name, fields in step.items()
    ]
    unchanged, same = softened(volume, only_mask, threshold)
    assert np.array_equal(same, mask)
    assert unchanged is volume[0]


@settings(max_examples=100, deadline=None)
@given(softs(), REMOVALS | FILLS, THRESHOLDS)
def test_a_step_that_is_repeated_changes_nothing(volume, step, threshold):
    once, _ = softened(volume, [step], threshold)
    twice, _ = softened((once, volume[1]), [step], threshold)
    assert np.array_equal(once, twice)


@settings(max_examples=100, deadline=None)
@given(softs(), REMOVALS, THRESHOLDS)
def test_a_removal_keeps_a_value_or_makes_it_0(volume, step, threshold):
    soft, _ = softened(volume, [step], threshold)
    assert ((soft == volume[0]) | (soft == 0)).all()


@settings(max_examples=40, deadline=None)
@given(softs(), FILLS)
def test_soft_filling_lowers_no_value_and_fills_the_holes_at_every_threshold(volume, step):
    soft, _ = softened(volume, [step], 0.5)
    assert (soft >= volume[0]).all()
    for threshold in np.arange(1, 11) / 10:
        _, mask = softened(volume, [step], threshold)
        assert np.array_equal(binarize(soft, threshold), mask)


def oracle(soft, threshold, kept, connectivity, zooms):
    """What is kept, from sets of voxels and distances between all pairs of them."""
    result, removed = np.zeros_like(soft), (soft >= np.float32(threshold)) & ~kept

    def distance(voxel, others):
        return min((np.linalg.norm(np.subtract(voxel, o) * zooms) for o in others), default=np.inf)

    near = np.zeros(soft.shape, bool)
    for region in objects(soft > 0, connectivity):
        of_kept, of_removed = ([v for v in region if mask[v]] for mask in (kept, removed))
        for voxel in region:
            near[voxel] = distance(voxel, of_kept) <= distance(voxel, of_removed) + 1e-9
    for part in objects(near, connectivity):
        if any(kept[voxel] for voxel in part):
            for voxel in part:
                result[voxel] = soft[voxel]
    return result


@settings(max_examples=60, deadline=None)
@given(softs(5), CONNECTIVITIES, THRESHOLDS)
def test_what_a_removal_keeps_equals_sets_of_voxels(volume, connectivity, threshold):
    fields = {"connectivity": connectivity, "apply_to": "soft"}
    soft, mask = softened(volume, [{"keep_largest": fields}], threshold)
    zooms = volume[1].zooms
    assert np.array_equal(soft, oracle(volume[0], threshold, mask, connectivity, zooms))


def row(*values):
    return np.array(values, np.float32).reshape(-1, 1, 1)


LARGEST = [{"keep_largest": {"apply_to": "soft"}}]


def test_a_soft_edge_stays_with_its_object_and_other_regions_disappear():
    soft = row(0.2, 0.9, 0.8, 0.3, 0, 0.4, 0, 0.1, 0.7, 0.1)
    kept, mask = softened((soft, CUBES), LARGEST, 0.5)
    assert kept.ravel() == pytest.approx([0.2, 0.9, 0.8, 0.3, 0, 0, 0, 0, 0, 0])
    assert mask.sum() == 2


def test_a_soft_bridge_is_divided_in_the_middle():
    soft = row(0.9, 0.9, 0.4, 0.3, 0.2, 0.1, 0.7)
    kept, _ = softened((soft, CUBES), LARGEST, 0.5)
    assert kept.ravel() == pytest.approx([0.9, 0.9, 0.4, 0.3, 0, 0, 0])


def test_nearness_is_in_mm():
    soft = np.zeros((5, 5, 1), np.float32)
    soft[0, :2], soft[3, 3], soft[0, 2], soft[0, 3], soft[1:3, 3] = 0.9, 0.9, 0.2, 0.3, 0.4
    kept, _ = softened((soft, Voxels((1.0, 4.0, 1.0), 0.004)), LARGEST, 0.5)
    assert kept[0, 3] == 0  # 2 voxels of 4 mm from the kept object, 3 of 1 mm from the other
    kept, _ = softened((soft, Voxels((4.0, 1.0, 1.0), 0.004)), LARGEST, 0.5)
    assert kept[0, 3] == np.float32(0.3)


def test_what_a_removed_object_cuts_off_disappears_too():
    """It is nearer to the kept object, but only voxels of the removed one lead there."""
    soft = np.zeros((7, 3, 1), np.float32)
    soft[:3, 0], soft[6, 0] = 0.9, 0.8  # kept, removed
    soft[3:6, 0], soft[6, 1:3], soft[2:6, 2] = 0.2, 0.2, 0.2  # from one to the other, and back
    step = {"keep_largest": {"apply_to": "soft", "connectivity": 6}}
    kept, _ = softened((soft, CUBES), [step], 0.5)
    assert soft[2, 2] > 0
    assert kept[2, 2] == 0
    assert kept[3, 0] == np.float32(0.2)


def test_an_object_that_an_earlier_step_removed_from_the_mask_disappears_too():
    soft = row(0.9, 0.9, 0.9, 0, 0.8, 0.3)
    steps = [{"remove_small": {"minimum": 2}}, {"fill_holes": {}}, *LARGEST]
    kept, _ = softened((soft, CUBES), steps, 0.5)
    assert kept.ravel() == pytest.approx([0.9, 0.9, 0.9, 0, 0, 0])


def test_without_an_object_nothing_soft_is_left():
    kept, mask = softened((row(0.1, 0.4, 0.3), CUBES), LARGEST, 0.5)
    assert not kept.any()
    assert not mask.any()


def test_a_basin_is_raised_to_its_lowest_outlet():
    plane = np.full((5, 5, 1), 0.8, np.float32)
    plane[1:4, 1:4] = 0.1
    plane[0, 2] = 0.3  # the outlet
    step = {"fill_holes": {"over": "slice", "apply_to": "soft"}}
    filled, _ = softened((plane, CUBES), [step], 0.5)
    assert filled[1:4, 1:4] == pytest.approx(0.3)
    kept, _ = softened((plane, CUBES), [{"fill_holes": {"apply_to": "soft"}}], 0.5)
    assert np.array_equal(kept, plane)  # in 3D, one slice encloses nothing
