"""What a network sees of a scan when the crop stands before the resampling."""

from __future__ import annotations

import numpy as np
import pytest

from softseg.inference.prepared_scan import crop_around, view_of
from softseg.inference.segment import segment
from tests.support import makers
from tests.support.models import Seen, seen
from tests.unit.inference.test_segment import sample

SHAPE = (20, 18, 3)
RESAMPLE, CROP = "{resample: {zooms: [0.5, 0.75, null]}}", "{crop: {size: [8, 6]}}"


class Recorded(Seen):
    """Notes the sizes of what it sees."""

    def __init__(self):
        super().__init__()
        self.sizes = set()

    def forward(self, slices):
        self.sizes.add(tuple(slices.shape[2:]))
        return super().forward(slices)


@pytest.mark.parametrize("zooms", ["0.5, 0.75, null", "2, 1.5, null", "null, 3, 2"])
def test_all_of_a_larger_scan_is_seen(zooms):
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


def test_only_the_crop_is_as_in_training():
    model = seen(f"preprocess=[{CROP}, {RESAMPLE}]")
    soft = segment(model, sample(makers.scan(3, SHAPE)), training_crop=True)[0]
    inside = np.zeros(SHAPE, bool)
    inside[6:14, 6:12] = True
    assert (soft[inside] > 0).all()
    assert (soft[~inside] == 0).all()


def test_a_smaller_scan_is_padded_before_it_is_resampled():
    view = view_of(seen(f"preprocess=[{CROP}, {RESAMPLE}]").experiment,
                   sample(makers.scan(3, (4, 18, 3))))  # fmt: skip
    assert view.image.shape == (3, 1, 16, 24)


def test_around_what_training_looked():
    crops = {
        around: f"preprocess=[{{crop: {{size: [8, 6], around: {around}}}}}]"
        for around in ("image", "roi")
    }
    roi = "dataset.roi='{subject}_roi.nii.gz'"
    assert {around: crop_around(seen(one, roi).experiment) for around, one in crops.items()} == {
        "image": "image", "roi": "roi"
    }  # fmt: skip
    assert crop_around(seen("preprocess=[]").experiment) is None
