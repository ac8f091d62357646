"""A scan is segmented on its own grid, everywhere, whatever the batch size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from softseg.core.errors import UserError
from softseg.inference.segment import crop_around, prepare_scan, segment
from tests.support import makers
from tests.support.models import Seen, sample, seen

SHAPE = (20, 18, 3)
RESAMPLE, CROP = "{resample: {zooms: [0.5, 0.75, null]}}", "{crop: {size: [8, 6]}}"


def expected(image):
    """The prediction of `Seen` for a scan that is not resampled."""
    standard = (image - image.mean(dtype=np.float64)) / image.std(dtype=np.float64)
    return 1 / (1 + np.exp(-4 * standard))


@pytest.mark.parametrize("shape", [(8, 6, 4), (5, 4, 3), (20, 6, 2), (23, 17, 3)])
@pytest.mark.parametrize("lps", [False, True])
def test_every_voxel_is_segmented_at_its_position(shape, lps):
    scan = makers.scan(3, shape)
    soft = segment(seen(), sample(scan, makers.oblique(lps=lps)))
    assert soft.shape == (1, *shape)
    assert soft[0] == pytest.approx(expected(scan), abs=1e-4)


def test_training_crop_segments_only_the_crop():
    scan = makers.scan(3, (16, 12, 2))
    soft = segment(seen(), sample(scan), training_crop=True)[0]
    inside = np.zeros(scan.shape, bool)
    inside[4:12, 3:9] = True
    assert soft[inside] == pytest.approx(expected(scan)[inside], abs=1e-4)
    assert (soft[~inside] == 0).all()


def test_a_model_trained_around_an_roi_segments_only_the_box():
    model = seen("preprocess.1.crop.around=roi", "dataset.roi='{subject}_roi.nii.gz'")
    scan, roi = makers.scan(3, (16, 12, 2)), np.zeros((16, 12, 2), np.float32)
    roi[10:12, 8:10] = 1  # its middle is at 10.5, 8.5
    inside = np.zeros(scan.shape, bool)
    inside[7:15, 6:12] = True
    for soft in (
        segment(model, sample(scan, roi=roi)),
        segment(model, sample(scan), center=(10.5, 8.5, 0)),
    ):
        assert soft[0][inside] == pytest.approx(expected(scan)[inside], abs=1e-4)
        assert (soft[0][~inside] == 0).all()


def test_a_model_trained_around_an_roi_needs_one():
    model = seen("preprocess.1.crop.around=roi", "dataset.roi='{subject}_roi.nii.gz'")
    with pytest.raises(UserError, match=r"--roi, or .*--center"):
        segment(model, sample(makers.scan()))
    with pytest.raises(UserError, match="ROI mask is empty"):
        segment(model, sample(makers.scan(), roi=np.zeros(makers.SHAPE, np.float32)))


def test_standardization_within_an_roi_needs_its_mask():
    model = seen("preprocess.0.standardize.region=roi", "dataset.roi='{subject}_roi.nii.gz'")
    with pytest.raises(UserError, match=r"--roi$"):
        segment(model, sample(makers.scan()), center=(4, 3, 2))


@pytest.mark.parametrize("patches", [False, True])
def test_the_batch_size_changes_nothing(patches):
    torch.manual_seed(0)
    model = seen(network=nn.Conv2d(1, 1, 3, padding=1))
    scan = sample(makers.scan(1, (20, 15, 9) if patches else (8, 6, 9)))
    expected_soft = segment(model, scan, batch_size=1)
    for size in (2, 7, 64, None):
        assert segment(model, scan, batch_size=size) == pytest.approx(expected_soft, abs=1e-5)


def test_the_order_of_slices_changes_nothing():
    torch.manual_seed(0)
    model = seen(network=nn.Conv2d(1, 1, 3, padding=1))
    scan, order = makers.scan(1, (20, 15, 9)), np.random.default_rng(0).permutation(9)
    shuffled = segment(model, sample(scan[..., order]), batch_size=2)
    straight = segment(model, sample(scan), batch_size=2)
    assert shuffled == pytest.approx(straight[..., order], abs=1e-5)


def test_slices_are_standardized_again_in_each_patch():
    model = seen("preprocess=[{crop: {size: [8, 6]}}, {standardize: {over: slice}}]")
    scan = makers.scan(2, (8, 6, 3)) * [1, 5, 100]
    soft = segment(model, sample(scan))[0]
    for number in range(3):
        assert soft[..., number] == pytest.approx(expected(scan[..., number]), abs=1e-4)


def test_contrasts_of_a_patch_are_standardized_together():
    steps = "preprocess=[{crop: {size: [8, 6]}}, {standardize: {over: slice, joint: true}}]"
    model = seen("dataset.contrasts=[T1w, T2w]", steps)
    scan = np.stack([makers.scan(2, (8, 6, 3)), 5 * makers.scan(3, (8, 6, 3))])
    soft = segment(model, sample(scan))[0]
    for number in range(3):
        plane = scan[..., number].astype(float)
        logits = 4 * (plane[0] - plane.mean()) / plane.std()
        assert soft[..., number] == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-4)


class Recorded(Seen):
    """Records the sizes of its inputs."""

    def __init__(self):
        super().__init__()
        self.sizes = set()

    def forward(self, slices):
        self.sizes.add(tuple(slices.shape[2:]))
        return super().forward(slices)


@pytest.mark.parametrize("zooms", ["0.5, 0.75, null", "2, 1.5, null", "null, 3, 2"])
def test_a_scan_larger_than_the_crop_is_segmented_whole(zooms):
    scan, resample = sample(makers.scan(3, SHAPE)), f"{{resample: {{zooms: [{zooms}]}}}}"
    soft = segment(seen(f"preprocess=[{CROP}, {resample}]"), scan)
    whole = segment(seen(f"preprocess=[{resample}]"), scan)
    assert soft == pytest.approx(whole, abs=1e-5)
    assert (soft[0] > 0).all()


@pytest.mark.parametrize(
    ("preprocess", "size"),
    # 8 x 6 voxels of 1 mm are 16 x 8 of 0.5 x 0.75 mm
    [(f"[{CROP}, {RESAMPLE}]", (16, 8)), (f"[{RESAMPLE}, {CROP}]", (8, 6))],
)
def test_patches_have_the_size_of_the_slices_in_training(preprocess, size):
    network = Recorded()
    segment(seen(f"preprocess={preprocess}", network=network), sample(makers.scan(3, SHAPE)))
    assert network.sizes == {size}


def test_with_training_crop_only_the_crop_is_segmented():
    model = seen(f"preprocess=[{CROP}, {RESAMPLE}]")
    soft = segment(model, sample(makers.scan(3, SHAPE)), training_crop=True)[0]
    inside = np.zeros(SHAPE, bool)
    inside[6:14, 6:12] = True
    assert (soft[inside] > 0).all()
    assert (soft[~inside] == 0).all()


def test_a_smaller_scan_is_padded_before_it_is_resampled():
    prepared = prepare_scan(seen(f"preprocess=[{CROP}, {RESAMPLE}]").experiment,
                   sample(makers.scan(3, (4, 18, 3))))  # fmt: skip
    assert prepared.image.shape == (3, 1, 16, 24)


def test_what_training_cropped_around():
    crops = {
        around: f"preprocess=[{{crop: {{size: [8, 6], around: {around}}}}}]"
        for around in ("image", "roi")
    }
    roi = "dataset.roi='{subject}_roi.nii.gz'"
    assert {name: crop_around(seen(crop, roi).experiment) for name, crop in crops.items()} == {
        "image": "image", "roi": "roi"
    }  # fmt: skip
    assert crop_around(seen("preprocess=[]").experiment) is None
