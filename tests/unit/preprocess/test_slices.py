"""Volumes to slices and back, and which slices take part in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from softseg.core.component import parse_component
from softseg.preprocess.preprocess import preprocess
from softseg.preprocess.slices import Slices
from tests.support.preprocess_samples import noise, sample
from tests.support.steps import preprocess_steps

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


@pytest.mark.parametrize("axis", AXES)
def test_a_slice_is_the_volume_at_one_index_of_its_axis(axis):
    volumes = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float32)
    slices = Slices(axis=axis)
    cut = slices.cut(volumes)
    assert len(cut) == volumes.shape[1 + AXES[axis]]
    for s, single in enumerate(cut):
        np.testing.assert_array_equal(single, volumes.take(s, axis=1 + AXES[axis]))
    np.testing.assert_array_equal(slices.stack(cut), volumes)
    assert slices.in_plane == tuple(sorted({0, 1, 2} - {AXES[axis]}))


def stack_of_slices():
    """5 slices of 2 contrasts: valid, one contrast constant, no target, no ROI, all empty."""
    image = torch.rand(5, 2, 4, 4)
    image[1, 1], image[4] = 3.0, 0.0
    target, roi = torch.full((5, 1, 4, 4), 0.2), torch.ones(5, 1, 4, 4)
    target[2], target[4], roi[3], roi[4] = 0, 0, 0, 0
    return image, target, roi


@pytest.mark.parametrize(
    ("exclude", "kept"),
    [
        ((), [0, 1, 2, 3, 4]),
        (("empty_input",), [0, 2, 3]),
        (("empty_target",), [0, 1, 3]),
        (("no_roi",), [0, 1, 2]),
        (("empty_input", "empty_target", "no_roi"), [0]),
    ],
)
def test_which_slices_each_rule_excludes(exclude, kept):
    keep = Slices(exclude=exclude).keep_mask(*stack_of_slices())
    assert keep.dtype == torch.bool
    assert keep.nonzero().flatten().tolist() == kept


def test_empty_input_is_the_default_and_a_constant_value_counts_as_empty():
    assert Slices().exclude == ("empty_input",)
    image = torch.full((2, 1, 4, 4), -1.7)
    image[0, 0, 1, 1] = -1.6
    assert Slices().keep_mask(image, image, None).tolist() == [True, False]


def test_a_soft_trace_of_foreground_keeps_a_slice():
    target = torch.zeros(2, 2, 4, 4)
    target[0, 1, 2, 2] = 0.01
    image = torch.rand(2, 1, 4, 4)
    assert Slices(exclude=("empty_target",)).keep_mask(image, target, None).tolist() == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    "spec", [{"axis": "transverse"}, {"exclude": ["empty"]}, {"plane": "axial"}]
)
def test_unknown_keys_and_values_are_rejected(spec):
    with pytest.raises(ValidationError):
        parse_component(TypeAdapter(Slices), spec)


@pytest.mark.parametrize("zoom", [0.25, 0.3, 0.37])
def test_a_constant_slice_is_empty_after_resampling_too(zoom):
    """Interpolation leaves float32 rounding on a constant, which is not content."""
    volume = noise((8, 8, 3))
    volume[:, :, 1] = 1234.567
    steps = preprocess_steps([{"standardize": {}}, {"resample": {"zooms": [zoom, zoom, None]}}])
    assert preprocess(sample(volume), steps, Slices()).keep.tolist() == [True, False, True]
