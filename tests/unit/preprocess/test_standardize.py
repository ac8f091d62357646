"""Mean 0 and standard deviation 1, measured on the whole native scan."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softseg.core.errors import UserError
from softseg.preprocess.preprocess import preprocess
from softseg.preprocess.slices import Slices
from softseg.preprocess.steps import Crop, Standardize, measure_intensity, standardize_slices
from tests.support.preprocess_samples import noise, sample


def network(volume, *steps, **more):
    """What the network sees, (C, X, Y, Z)."""
    slices = Slices()
    return slices.stack(preprocess(sample(volume, **more), steps, slices).image)


def test_each_contrast_is_standardized_over_its_whole_volume():
    scan = np.stack([noise((8, 6, 4), 1), noise((8, 6, 4), 2, -5, 5)])
    expected = [(c - c.mean(dtype=float)) / c.std(dtype=float) for c in scan]
    np.testing.assert_allclose(network(scan, Standardize()), expected, atol=1e-5)


def test_a_scan_standardized_by_hand():
    scan = np.array([0.0, 2.0, 4.0, 6.0]).reshape(2, 2, 1)  # mean 3, standard deviation sqrt(5)
    standardized = network(scan, Standardize()).ravel() * np.sqrt(5)
    np.testing.assert_allclose(standardized, [-3, -1, 1, 3], rtol=1e-6)


@pytest.mark.parametrize("first", [True, False], ids=["before the crop", "after the crop"])
def test_a_crop_does_not_change_a_voxels_value(first):
    """So training on a crop, predicting a patch and predicting a whole scan agree."""
    scan = noise((12, 10, 3))
    crop = Crop(size=(4, 6))
    steps = (Standardize(), crop) if first else (crop, Standardize())
    uncropped = network(scan, Standardize())
    np.testing.assert_array_equal(network(scan, *steps)[0], uncropped[0, 4:8, 2:8])


@pytest.mark.parametrize(("low", "high"), [(0, 900), (100, 900), (-900, -100), (-50, 900)])
def test_padding_is_the_standardized_minimum_not_zero(low, high):
    scan = noise((4, 4, 2), 3, low, high)
    raw = scan.min()  # of so few voxels, 0.5 % are none
    expected = (raw - scan.mean(dtype=float)) / scan.std(dtype=float)
    steps, slices = (Standardize(), Crop(size=(8, 4))), Slices()
    volume = preprocess(sample(scan), steps, slices)
    assert abs(expected) > 0.05
    np.testing.assert_allclose(volume.image[:, :, :2], expected, atol=1e-5)
    np.testing.assert_allclose(volume.image[:, :, 6:], expected, atol=1e-5)
    np.testing.assert_allclose(volume.fill, np.full((2, 1), expected), atol=1e-5)


def test_region_nonzero_leaves_the_stripped_skull_out():
    scan = noise((8, 6, 4))
    scan[:, :3] = 0
    brain = scan[scan != 0].astype(float)
    expected = (scan - brain.mean()) / brain.std()
    np.testing.assert_allclose(network(scan, Standardize(region="nonzero"))[0], expected, atol=1e-5)


def test_region_roi_measures_inside_the_mask():
    scan, roi = noise((8, 6, 4)), np.zeros((8, 6, 4))
    roi[2:5, 1:4] = 1
    roi[5, 1:4] = 0.4  # less than half of these voxels is inside
    inside = scan[2:5, 1:4].astype(float)
    standardized = network(scan, Standardize(region="roi"), roi=roi)[0]
    np.testing.assert_allclose(standardized, (scan - inside.mean()) / inside.std(), atol=1e-5)


def test_a_region_without_voxels_is_rejected():
    with pytest.raises(UserError, match="no voxel to standardize over with region: nonzero"):
        measure_intensity(np.zeros((3, 3, 3), np.float32), Standardize(region="nonzero"), None)


@pytest.mark.parametrize("value", [0.0, 7.3, -1e6, 3e7])
@pytest.mark.parametrize("over", ["volume", "slice"])
def test_a_constant_scan_becomes_zero_without_division_by_zero(value, over):
    scan = np.full((4, 4, 2), value)
    volume = preprocess(sample(scan), (Standardize(over=over),), Slices())
    assert volume.image.isfinite().all()
    assert volume.image.abs().max() <= 1e-6 * max(1, abs(value))
    assert volume.fill.isfinite().all()


def test_without_the_step_values_stay_as_they_are():
    scan = noise((4, 4, 2))
    np.testing.assert_array_equal(network(scan)[0], scan)


def test_over_slice_each_preprocessed_slice_has_mean_0_and_deviation_1():
    scan = np.stack([noise((8, 6, 3), 1), noise((8, 6, 3), 2, 0, 3)]) * [[[[1, 5, 20]]]]
    standardized = network(scan, Crop(size=(6, 4)), Standardize(over="slice"))
    cut = scan[:, 1:7, 1:5]
    mean, std = (f(cut, axis=(1, 2), keepdims=True) for f in (np.mean, np.std))
    np.testing.assert_allclose(standardized, (cut - mean) / std, atol=1e-5)


def of_two_scanners():
    """Two contrasts of other scales and backgrounds, in which 0 is not a value of the second."""
    scan = np.stack([noise((8, 6, 3), 1, 0, 3), noise((8, 6, 3), 2, 200, 900)])
    scan[0, :2] = 0
    return scan


@pytest.mark.parametrize("region", ["all", "nonzero", "roi"])
def test_joint_statistics_are_those_of_all_contrasts_together(region):
    scan, roi = of_two_scanners(), np.zeros((8, 6, 3))
    roi[2:6, 1:4] = 1
    inside = {"all": scan, "nonzero": scan[scan != 0], "roi": scan[:, roi > 0]}[region].astype(
        float
    )
    standardized = network(scan, Standardize(region=region, joint=True), roi=roi)
    np.testing.assert_allclose(standardized, (scan - inside.mean()) / inside.std(), atol=1e-5)


def test_joint_statistics_of_a_slice_are_those_of_all_its_contrasts():
    scan = of_two_scanners()
    standardized = network(scan, Crop(size=(6, 4)), Standardize(over="slice", joint=True))
    cut = scan[:, 1:7, 1:5]
    mean, std = (f(cut, axis=(0, 1, 2), keepdims=True) for f in (np.mean, np.std))
    np.testing.assert_allclose(standardized, (cut - mean) / std, atol=1e-5)


@pytest.mark.parametrize("over", ["volume", "slice"])
def test_joint_statistics_of_one_contrast_are_its_own(over):
    scan = noise((8, 6, 3))
    alone, joint = (network(scan, Standardize(over=over, joint=joint)) for joint in (False, True))
    np.testing.assert_array_equal(joint, alone)


@pytest.mark.parametrize("over", ["volume", "slice"])
def test_what_is_outside_of_jointly_standardized_contrasts_is_each_ones_background(over):
    scan = of_two_scanners()
    steps = (Crop(size=(12, 6)), Standardize(over=over, joint=True))
    volume = preprocess(sample(scan), steps, Slices())
    outside = volume.fill[:, :, None, None].expand(-1, -1, 2, 6)
    np.testing.assert_allclose(volume.image[:, :, :2], outside, atol=1e-5)
    assert (volume.fill[:, 1] - volume.fill[:, 0] > 0.3).all()


def test_over_slice_the_background_is_each_slices_own():
    image = torch.tensor([[[[0.0, 2.0]]], [[[10.0, 30.0]]], [[[5.0, 5.0]]]])
    standardized, fill = standardize_slices(image, torch.zeros(3, 1), joint=False)
    assert standardized.flatten().tolist() == [-1, 1, -1, 1, 0, 0]
    assert fill.flatten().tolist() == [-1, -2, -5]


@given(
    gain=st.floats(0.01, 1000),
    offset=st.floats(-1000, 1000),
    seed=st.integers(0, 99),
)
def test_the_scanners_gain_and_offset_do_not_matter(gain, offset, seed):
    scan = np.random.default_rng(seed).normal(0, 100, (5, 4, 3))
    raw = measure_intensity(scan.astype(np.float32), Standardize(), None)
    scaled = measure_intensity((gain * scan + offset).astype(np.float32), Standardize(), None)
    assert scaled.std == pytest.approx(gain * raw.std, rel=1e-2, abs=1e-3)
    assert scaled.mean == pytest.approx(gain * raw.mean + offset, rel=1e-3, abs=1e-2 * gain + 1e-2)
