"""A model called on arrays rejects an invalid scan with a message, not a traceback."""

from __future__ import annotations

import numpy as np
import pytest

from softseg.core.errors import UserError
from softseg.inference.segmenter import Segmenter
from tests.support.models import seen

SHAPE = (8, 6, 3)
IMAGE = np.arange(144.0).reshape(SHAPE)
ROI = np.ones(SHAPE)
AROUND = ("dataset.roi='{subject}_roi.nii.gz'", "preprocess.1={crop: {size: [8, 6], around: roi}}")


@pytest.mark.parametrize(
    "zooms", [(1, 1), (1, 1, 1, 1), (1, 0, 1), (1, -1, 1), (1, np.inf, 1), "1mm", (1, "x", 1), None]
)
def test_zooms_other_than_three_sizes_are_rejected(zooms):
    with pytest.raises(UserError, match="zooms"):
        Segmenter(seen())(IMAGE, zooms)


def test_integer_zooms_are_accepted():
    assert Segmenter(seen())(IMAGE, np.array([1, 1, 3])).shape == (1, *SHAPE)


@pytest.mark.parametrize(
    "affine",
    [
        np.eye(3),
        np.zeros((4, 4)),
        np.diag([1, 0, 1, 1]),
        np.diag([1, np.nan, 1, 1]),
        np.array([[1, 0, 0, 5], [0, 1, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]]).T,
        "identity",
    ],
)
def test_an_invalid_affine_is_rejected(affine):
    with pytest.raises(UserError, match="affine"):
        Segmenter(seen())(IMAGE, (1, 1, 1), affine=affine)


def test_an_affine_takes_precedence_over_zooms():
    predictions = [Segmenter(seen())(IMAGE, zooms, affine=np.eye(4)) for zooms in ((1, 1, 1), None)]
    np.testing.assert_array_equal(*predictions)


def test_an_roi_on_another_grid_is_rejected():
    segment = Segmenter(seen(*AROUND))
    assert segment(IMAGE, (1, 1, 1), roi=ROI).shape == (1, *SHAPE)
    with pytest.raises(UserError, match=r"shape \(6, 8, 3\), the image \(8, 6, 3\)"):
        segment(IMAGE, (1, 1, 1), roi=np.ones((6, 8, 3)))
    with pytest.raises(UserError, match="the roi holds NaN"):
        segment(IMAGE, (1, 1, 1), roi=np.full(SHAPE, np.nan))


def test_a_center_stands_for_an_roi_mask():
    segment = Segmenter(seen(*AROUND))
    # the middle of the mask, which is the whole image
    np.testing.assert_allclose(
        segment(IMAGE, (1, 1, 1), center=(3.5, 2.5, 1)), segment(IMAGE, (1, 1, 1), roi=ROI)
    )
    with pytest.raises(UserError, match=r"give its mask with roi, or the middle .* with center$"):
        segment(IMAGE, (1, 1, 1))
    with pytest.raises(UserError, match="cannot be combined"):
        segment(IMAGE, (1, 1, 1), roi=ROI, center=(1, 1, 1))
    with pytest.raises(UserError, match=r"index \(i, j, k\) of a voxel"):
        segment(IMAGE, (1, 1, 1), center=(1, 1))
    with pytest.raises(UserError, match=r"^center 90,1,1 is outside the image"):
        segment(IMAGE, (1, 1, 1), center=(90, 1, 1))


def test_an_roi_that_the_model_does_not_use_is_rejected():
    with pytest.raises(UserError, match="was not trained around an ROI"):
        Segmenter(seen())(IMAGE, (1, 1, 1), roi=ROI)


@pytest.mark.parametrize("image", [np.ones((0, 6, 3)), "scan.nii.gz", [[1, 2], [3]]])
def test_an_invalid_image_is_rejected(image):
    with pytest.raises(UserError, match="image"):
        Segmenter(seen())(image, (1, 1, 1))


def test_a_batch_size_of_zero_is_rejected():
    with pytest.raises(UserError, match="batch_size"):
        Segmenter(seen())(IMAGE, (1, 1, 1), batch_size=0)
