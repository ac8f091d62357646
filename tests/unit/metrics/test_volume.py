from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from softseg.metrics.overlap import avd, mse, mse_paper, rvd, volume_ml

SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=4)
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(*[hnp.arrays(bool, shape)] * 2))
FRACTIONS = st.floats(0, 1, width=32)
SOFT_PAIRS = SHAPES.flatmap(
    lambda shape: st.tuples(*[hnp.arrays(np.float32, shape, elements=FRACTIONS)] * 2)
)


def mask(foreground):
    volume = np.zeros((4, 4, 4), bool)
    volume.reshape(-1)[:foreground] = True
    return volume


def test_over_segmentation_is_negative():
    assert rvd(mask(12), mask(10)) == pytest.approx(-20)
    assert rvd(mask(8), mask(10)) == pytest.approx(20)
    assert avd(mask(12), mask(10)) == avd(mask(8), mask(10)) == pytest.approx(20)


def test_the_relative_volume_of_an_empty_truth_is_nan():
    assert math.isnan(rvd(mask(3), mask(0)))
    assert math.isnan(avd(mask(3), mask(0)))
    assert rvd(mask(0), mask(3)) == 100


@given(PAIRS)
def test_relative_volume_equals_counts_of_sets_of_voxels(pair):
    predicted, true = ({tuple(v) for v in np.argwhere(volume)} for volume in pair)
    expected = 100 * (len(true) - len(predicted)) / len(true) if true else math.nan
    assert rvd(*pair) == pytest.approx(expected, nan_ok=True)


@given(SOFT_PAIRS)
def test_mse_is_the_voxel_mean(pair):
    errors = [(float(q) - float(y)) ** 2 for q, y in zip(*(v.flat for v in pair), strict=True)]
    assert mse(*pair) == pytest.approx(100 * sum(errors) / len(errors), abs=1e-9)


def test_the_papers_mse_sums_over_slices():
    """A figure measured on the published implementation: 158 wrong voxels of 128x128x12."""
    prediction, truth = np.zeros((128, 128, 12), bool), np.zeros((128, 128, 12), bool)
    prediction.reshape(-1)[:100] = True
    truth.reshape(-1)[-58:] = True
    assert mse_paper(prediction, truth) / 100 == pytest.approx(0.00964, abs=5e-6)


@given(PAIRS, st.integers(0, 2))
def test_the_papers_mse_equals_the_sum_over_its_slices(pair, axis):
    planes = zip(*(np.moveaxis(volume, axis, 0) for volume in pair), strict=True)
    expected = sum(100 * np.mean(one != other) for one, other in planes)
    assert mse_paper(*pair, slice_axis=axis) == pytest.approx(expected)


def test_volume_in_milliliters():
    assert volume_ml(mask(10), 0.002) == pytest.approx(0.02)
    half = np.full((2, 2, 2), 0.5, np.float32)
    assert volume_ml(half, 0.25) == pytest.approx(1)
