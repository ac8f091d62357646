"""One subject carried through the chain: what the network sees, against scipy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from softseg.core.errors import UserError
from softseg.preprocess import Crop, Resample, Slices, Standardize, preprocess
from softseg.preprocess.preprocess import count_soft
from tests.support import makers
from tests.support.preprocess_samples import noise, sample


def axial(slices):
    """(S, C, H, W) -> (C, H, W, S)."""
    return np.moveaxis(slices.numpy(), 0, -1)


def test_images_by_a_second_order_spline_masks_linearly():
    scan, mask = noise((12, 10, 3)), noise((12, 10, 3), 1, 0, 1)
    volume = preprocess(sample(scan, mask), (Resample(zooms=(0.5, 0.5, None)),), Slices())
    # twice as many voxels over the same field of view: centers at -0.25, 0.25, 0.75 ..
    x, y = (np.clip(np.arange(2 * n) / 2 - 0.25, 0, n - 1) for n in (12, 10))
    where = np.meshgrid(x, y, np.arange(3), indexing="ij")
    for got, raw, order in ((volume.image, scan, 2), (volume.target, mask, 1)):
        expected = ndimage.map_coordinates(raw, where, order=order, mode="mirror")
        np.testing.assert_allclose(axial(got)[0], expected, rtol=1e-5, atol=1e-5 * raw.max())


def test_hard_masks_come_out_soft_float32_and_within_0_and_1():
    hard = makers.ball((12, 12, 6), soft=False)
    for order in (1, 2, 3):
        step = Resample(zooms=(0.4, 0.4, None), label_order=order)
        volume = preprocess(sample(noise(hard.shape), hard), (step,), Slices())
        assert volume.target.dtype == torch.float32
        assert volume.target.min() >= 0
        assert volume.target.max() <= 1
        soft, positive = volume.facts.soft["preprocess"]
        assert 0.1 * positive < soft < positive


def test_count_soft():
    assert count_soft(np.array([0, 0.1, 0.9, 1, 1])) == (2, 4)
    assert count_soft(torch.zeros(3)) == (0, 0)


def test_softness_is_told_stage_by_stage_in_order():
    volume = preprocess(sample(noise((4, 4, 2))), (), Slices())
    assert list(volume.facts.soft) == ["files", "raters", "preprocess"]


def test_slices_run_right_to_anterior_whatever_the_scans_orientation():
    """An LPS scan is turned round in the plane; one stored as (z, x, y) is brought in order."""
    scan = noise((6, 5, 4))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    got = axial(preprocess(sample(scan, affine=lps), (), Slices()).image)[0]
    np.testing.assert_array_equal(got, scan[::-1, ::-1])
    stored = np.zeros((4, 4))
    stored[2, 0] = stored[0, 1] = stored[1, 2] = stored[3, 3] = 1
    got = axial(preprocess(sample(scan.transpose(2, 0, 1), affine=stored), (), Slices()).image)[0]
    np.testing.assert_array_equal(got, scan)


def test_the_mask_outside_the_scan_is_empty():
    volume = preprocess(
        sample(noise((4, 4, 2)), np.ones((4, 4, 2))), (Crop(size=(8, 8)),), Slices()
    )
    assert volume.target.sum() == 32
    assert volume.target[:, :, 2:6, 2:6].min() == 1


def test_what_the_crop_cuts_away_is_told_as_a_share_of_the_mask():
    full, empty = np.ones((8, 8, 2)), np.zeros((8, 8, 2))
    facts = preprocess(
        sample(noise((8, 8, 2)), np.stack([full, empty])), (Crop(size=(4, 4)),), Slices()
    ).facts
    assert facts.kept == (0.25, pytest.approx(math.nan, nan_ok=True))
    assert facts.ceiling[0] == pytest.approx(100 * 2 * 32 / (32 + 128))
    assert math.isnan(facts.ceiling[1])  # no Dice of nothing


def test_the_best_dice_is_100_where_nothing_is_interpolated_and_less_where_voxels_grow():
    scan, mask = noise((16, 16, 4)), makers.ball((16, 16, 4), soft=False)
    [same] = preprocess(sample(scan, mask), (), Slices()).facts.ceiling
    coarse = Resample(zooms=(3.0, 3.0, None))
    [worse] = preprocess(sample(scan, mask), (coarse,), Slices()).facts.ceiling
    assert same == 100
    assert 30 < worse < 99


def test_dropped_slices_are_marked_and_stay():
    scan, mask = noise((4, 4, 3)), np.zeros((4, 4, 3))
    scan[:, :, 1], mask[:, :, 0] = 0, 1
    steps = (Standardize(),)
    volume = preprocess(sample(scan, mask), steps, Slices())
    assert volume.keep.tolist() == [True, False, True]
    assert len(volume.image) == len(volume.target) == len(volume.fill) == 3
    both = Slices(exclude=("empty_input", "empty_target"))
    assert preprocess(sample(scan, mask), steps, both).keep.tolist() == [True, False, False]


def test_empty_slices_are_found_before_each_slice_is_standardized():
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
def test_a_chain_that_needs_an_roi_says_so(steps, slices):
    scan = noise((8, 8, 2))
    with pytest.raises(UserError, match=r"needs an ROI mask.*dataset\.roi"):
        preprocess(sample(scan), steps, slices)
    with pytest.raises(UserError, match="its ROI mask is empty"):
        preprocess(sample(scan, roi=np.zeros(scan.shape)), steps, slices)


def test_a_crop_around_the_roi_and_slices_without_it_dropped():
    scan, roi = noise((10, 10, 3)), np.zeros((10, 10, 3))
    roi[5:9, 1:5, :2] = 1
    slices = Slices(exclude=("no_roi",))
    volume = preprocess(sample(scan, roi=roi), (Crop(size=(4, 4), around="roi"),), slices)
    np.testing.assert_array_equal(axial(volume.image)[0], scan[5:9, 1:5])
    assert volume.keep.tolist() == [True, True, False]
