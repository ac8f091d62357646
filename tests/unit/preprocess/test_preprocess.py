"""Preprocessing one subject: what the network sees, compared with scipy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from softseg.core.errors import UserError
from softseg.preprocess.preprocess import count_soft, preprocess
from softseg.preprocess.slices import Slices
from softseg.preprocess.steps import Crop, Resample, Standardize
from tests.support import makers
from tests.support.preprocess_samples import noise, sample


def axial(slices):
    """(S, C, H, W) -> (C, H, W, S)."""
    return np.moveaxis(slices.numpy(), 0, -1)


def test_images_are_resampled_by_a_quadratic_spline_and_masks_linearly():
    scan, mask = noise((12, 10, 3)), noise((12, 10, 3), 1, 0, 1)
    volume = preprocess(sample(scan, mask), (Resample(zooms=(0.5, 0.5, None)),), Slices())
    # twice as many voxels over the same field of view: centers at -0.25, 0.25, 0.75 ..
    x, y = (np.clip(np.arange(2 * n) / 2 - 0.25, 0, n - 1) for n in (12, 10))
    where = np.meshgrid(x, y, np.arange(3), indexing="ij")
    for slices, raw, order in ((volume.image, scan, 2), (volume.target, mask, 1)):
        expected = ndimage.map_coordinates(raw, where, order=order, mode="mirror")
        np.testing.assert_allclose(axial(slices)[0], expected, rtol=1e-5, atol=1e-5 * raw.max())


def test_hard_masks_come_out_soft_float32_and_within_0_and_1():
    hard = makers.ball((12, 12, 6), soft=False)
    for order in (1, 2, 3):
        step = Resample(zooms=(0.4, 0.4, None), label_order=order)
        volume = preprocess(sample(noise(hard.shape), hard), (step,), Slices())
        assert volume.target.dtype == torch.float32
        assert volume.target.min() >= 0
        assert volume.target.max() <= 1
        soft, positive = volume.statistics.soft_counts["preprocess"]
        assert 0.1 * positive < soft < positive


def test_count_soft():
    assert count_soft(np.array([0, 0.1, 0.9, 1, 1])) == (2, 4)
    assert count_soft(torch.zeros(3)) == (0, 0)


def test_soft_counts_come_in_the_order_of_the_stages():
    volume = preprocess(sample(noise((4, 4, 2))), (), Slices())
    assert list(volume.statistics.soft_counts) == ["files", "raters", "preprocess"]


def test_slices_run_right_to_anterior_whatever_the_scans_orientation():
    """An LPS scan is rotated in the plane; the axes of one stored as (z, x, y) are permuted."""
    scan = noise((6, 5, 4))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    image = axial(preprocess(sample(scan, affine=lps), (), Slices()).image)[0]
    np.testing.assert_array_equal(image, scan[::-1, ::-1])
    stored = np.zeros((4, 4))
    stored[2, 0] = stored[0, 1] = stored[1, 2] = stored[3, 3] = 1
    permuted = sample(scan.transpose(2, 0, 1), affine=stored)
    image = axial(preprocess(permuted, (), Slices()).image)[0]
    np.testing.assert_array_equal(image, scan)


def test_the_mask_outside_the_scan_is_empty():
    volume = preprocess(
        sample(noise((4, 4, 2)), np.ones((4, 4, 2))), (Crop(size=(8, 8)),), Slices()
    )
    assert volume.target.sum() == 32
    assert volume.target[:, :, 2:6, 2:6].min() == 1


def test_kept_share_and_dice_ceiling_measure_what_the_crop_removes():
    full, empty = np.ones((8, 8, 2)), np.zeros((8, 8, 2))
    statistics = preprocess(
        sample(noise((8, 8, 2)), np.stack([full, empty])), (Crop(size=(4, 4)),), Slices()
    ).statistics
    assert statistics.kept_share == (0.25, pytest.approx(math.nan, nan_ok=True))
    assert statistics.dice_ceiling[0] == pytest.approx(100 * 2 * 32 / (32 + 128))
    assert math.isnan(statistics.dice_ceiling[1])  # Dice of an empty mask is undefined


def test_dice_ceiling_is_100_without_interpolation_and_less_for_larger_voxels():
    scan, mask = noise((16, 16, 4)), makers.ball((16, 16, 4), soft=False)
    [same] = preprocess(sample(scan, mask), (), Slices()).statistics.dice_ceiling
    coarse = Resample(zooms=(3.0, 3.0, None))
    [worse] = preprocess(sample(scan, mask), (coarse,), Slices()).statistics.dice_ceiling
    assert same == 100
    assert 30 < worse < 99


def test_excluded_slices_are_marked_and_stay():
    scan, mask = noise((4, 4, 3)), np.zeros((4, 4, 3))
    scan[:, :, 1], mask[:, :, 0] = 0, 1
    steps = (Standardize(),)
    volume = preprocess(sample(scan, mask), steps, Slices())
    assert volume.keep.tolist() == [True, False, True]
    assert len(volume.image) == len(volume.target) == len(volume.fill) == 3
    both = Slices(exclude=("empty_input", "empty_target"))
    assert preprocess(sample(scan, mask), steps, both).keep.tolist() == [True, False, False]


def test_empty_slices_are_detected_before_each_slice_is_standardized():
    scan = noise((4, 4, 3))
    scan[:, :, 2] = 0
    volume = preprocess(sample(scan), (Standardize(over="slice"),), Slices())
    assert volume.keep.tolist() == [True, True, False]


NEEDS_ROI = [
    ((Crop(size=(4, 4), around="roi"),), Slices()),
    ((Standardize(region="roi"),), Slices()),
    ((), Slices(exclude=("no_roi",))),
]


@pytest.mark.parametrize(("steps", "slices"), NEEDS_ROI)
def test_a_chain_that_needs_an_roi_rejects_a_subject_without_one(steps, slices):
    scan = noise((8, 8, 2))
    with pytest.raises(UserError, match=r"needs an ROI mask.*dataset\.roi"):
        preprocess(sample(scan), steps, slices)
    with pytest.raises(UserError, match="its ROI mask is empty"):
        preprocess(sample(scan, roi=np.zeros(scan.shape)), steps, slices)


def test_a_crop_around_the_roi_with_slices_outside_it_excluded():
    scan, roi = noise((10, 10, 3)), np.zeros((10, 10, 3))
    roi[5:9, 1:5, :2] = 1
    slices = Slices(exclude=("no_roi",))
    volume = preprocess(sample(scan, roi=roi), (Crop(size=(4, 4), around="roi"),), slices)
    np.testing.assert_array_equal(axial(volume.image)[0], scan[5:9, 1:5])
    assert volume.keep.tolist() == [True, True, False]
