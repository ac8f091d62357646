from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softseg.core.errors import UserError
from softseg.models import Unet2d, Unet3d, plan_levels

# computed with get_pool_and_conv_props of nnunetv2 2.8.1: patch, spacing, strides, kernels
NNUNET = [
    ((40, 56, 40), (1, 1, 1), [(2, 2, 2)] * 3, [(3, 3, 3)] * 4),
    (
        (20, 320, 256),
        (3.6, 0.625, 0.625),
        [(1, 2, 2)] * 2 + [(2, 2, 2)] * 2 + [(1, 2, 2)] * 2,
        [(1, 3, 3)] * 2 + [(3, 3, 3)] * 5,
    ),
    (
        (64, 64, 12),
        (0.5, 0.5, 5.0),
        [(2, 2, 1)] * 3 + [(2, 2, 2)],
        [(3, 3, 1)] * 3 + [(3, 3, 3)] * 2,
    ),
    ((192, 160), (1, 1), [(2, 2)] * 5, [(3, 3)] * 6),
]


@pytest.mark.parametrize(("patch", "spacing", "strides", "kernels"), NNUNET)
def test_strides_and_kernels_are_those_of_nnunet(patch, spacing, strides, kernels):
    depth = len(strides)
    assert plan_levels(patch, spacing, depth) == (tuple(strides), tuple(kernels))
    with pytest.raises(UserError, match=rf"lower model\.depth to {depth}"):
        plan_levels(patch, spacing, depth + 1)


def test_a_lower_depth_has_the_first_strides_and_a_bottom_with_kernel_3():
    strides, kernels = plan_levels((64, 64, 12), (0.5, 0.5, 5.0), 2)
    assert strides == ((2, 2, 1), (2, 2, 1))
    assert kernels == ((3, 3, 1), (3, 3, 1), (3, 3, 3))


def test_samples_that_cannot_be_halved_at_all_are_rejected():
    with pytest.raises(UserError, match=r"5 x 5 x 5 voxels .*too small for a U-Net"):
        plan_levels((5, 5, 5), (1, 1, 1), 1)


def test_a_single_axis_is_halved_only_while_the_others_stay_comparable():
    with pytest.raises(UserError, match="10 x 7 x 7"):
        plan_levels((10, 7, 7), (1, 1, 1), 1)
    assert plan_levels((12, 7, 7), (1, 1, 1), 1)[0] == ((2, 1, 1),)


@settings(max_examples=50, deadline=None)
@given(
    patch=st.tuples(*[st.integers(4, 128)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.3, 0.5, 1.0, 1.2, 2.0, 5.0])] * 3),
    depth=st.integers(1, 4),
)
def test_no_axis_is_pooled_while_it_is_coarse_nor_below_4_voxels(patch, spacing, depth):
    try:
        strides, kernels = plan_levels(patch, spacing, depth)
    except UserError:
        return
    size, distance = list(patch), list(spacing)
    for stride, kernel in zip(strides, kernels[:-1], strict=True):
        halved = [axis for axis in range(3) if stride[axis] == 2]
        finest = min(distance[axis] for axis in range(3) if size[axis] >= 8)
        assert halved
        assert all(distance[axis] < 2 * finest for axis in halved)
        assert all(k == 3 for k, d in zip(kernel, distance, strict=True) if d < 2 * min(distance))
        size = [-(-n // step) for n, step in zip(size, stride, strict=True)]
        distance = [d * step for d, step in zip(distance, stride, strict=True)]
        assert all(size[axis] >= 4 for axis in halved)
    columns = list(zip(*kernels, strict=True))
    assert all(list(column) == sorted(column) for column in columns)  # once 3, always 3


def test_a_3d_spec_is_planned_where_its_lists_are_null():
    spec = Unet3d(depth=2)
    planned = spec.planned((64, 64, 12), (0.5, 0.5, 5.0))
    assert (planned.strides, planned.kernels) == plan_levels((64, 64, 12), (0.5, 0.5, 5.0), 2)
    assert planned.divisor == (4, 4, 1)
    assert planned.planned((8, 8, 8), (1, 1, 1)) == planned  # what is written stays
    assert spec.divisor == (4, 4, 4)


def test_kernels_follow_from_strides_that_are_configured():
    spec = Unet3d(depth=2, strides=((2, 2, 1), (2, 2, 2)))
    planned = spec.planned((16, 16, 4), (1.0, 1.0, 2.0))
    assert planned.strides == spec.strides
    assert planned.kernels == ((3, 3, 1), (3, 3, 3), (3, 3, 3))


def test_a_2d_spec_has_nothing_to_plan():
    assert Unet2d().planned((16, 320), (0.5, 5.0)) == Unet2d()
