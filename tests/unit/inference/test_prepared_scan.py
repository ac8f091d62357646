"""Scans prepared with a crop before or after the resampling."""

from __future__ import annotations

import numpy as np
import pytest

from softseg.inference.segment import crop_around, prepare_scan, segment
from tests.support import makers
from tests.support.models import Seen, sample, seen

SHAPE = (20, 18, 3)
RESAMPLE, CROP = "{resample: {zooms: [0.5, 0.75, null]}}", "{crop: {size: [8, 6]}}"


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
