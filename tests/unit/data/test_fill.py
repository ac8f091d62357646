"""The value outside of a scan: a low percentile of its voxels, which shifts with them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softseg import data
from softseg.data.fill import background_value, round_bits
from softseg.package.metadata import anonymize
from tests.support.models import seen


@given(seed=st.integers(0, 99), offset=st.integers(-3000, 3000), size=st.integers(1, 2000))
def test_the_value_shifts_with_the_scan_exactly(seed, offset, size):
    scan = np.random.default_rng(seed).integers(-1000, 1000, size).astype(np.float32)
    assert background_value(scan + np.float32(offset)) == background_value(scan) + offset


def test_defective_voxels_and_undershoot_do_not_count():
    scan = np.random.default_rng(0).uniform(50, 900, (20, 20, 20)).astype(np.float32)
    scan[:5] = -1000  # air, a quarter of the voxels
    scan[9, 9, :10] = -32768
    assert background_value(scan) == -1000


def test_a_stripped_skull_is_0():
    scan = np.random.default_rng(0).uniform(50, 900, (10, 10, 10)).astype(np.float32)
    scan[:, :2] = 0
    assert background_value(scan) == 0


@pytest.mark.parametrize("number", [0, -1024, 3.5])
def test_a_number_is_taken_as_it_is(number):
    assert background_value(np.ones((2, 2, 2), np.float32), number) == number


@given(seed=st.integers(0, 99), offset=st.integers(-3000, 3000))
def test_rounded_values_are_the_same_on_any_constant(seed, offset):
    relative = np.random.default_rng(seed).uniform(-50, 900, (5, 5, 5)).astype(np.float32)
    rounded, constant = round_bits(relative), np.float32(offset)
    np.testing.assert_allclose(rounded, relative, atol=900 * 2**-18)
    np.testing.assert_array_equal((rounded + constant) - constant, rounded)
    assert not round_bits(np.zeros(3, np.float32)).any()


def test_a_contrast_that_does_not_exist_has_no_fill():
    keys = {
        "loader": "files",
        "root": "data",
        "image": "{subject}_{contrast}.nii",
        "label": "{subject}_gm.nii",
        "targets": {"gm": {}},
    }
    with pytest.raises(ValueError, match="no contrast 'CTT'"):
        data.build({**keys, "contrasts": ["CT"], "fill": {"CTT": 0}})
    dataset = data.build({**keys, "contrasts": ["CT", "PET"], "fill": {"PET": 0}})
    assert [dataset.fill_of(name) for name in dataset.contrasts] == ["minimum", 0]


def test_a_package_keeps_the_fill():
    experiment = seen("dataset.fill=-1024").experiment
    assert anonymize(experiment).dataset.fill == -1024
