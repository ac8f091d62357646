"""Maps of distances to a contour, against golden rows and a search over all pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from softseg.preprocess.distance_maps import KINDS, contour_map

ROW = np.zeros((1, 10), dtype=bool)
ROW[0, 3:8] = True
HALF_PIXEL = np.array([2.5, 1.5, 0.5, -0.5, -1.5, -2.5, -1.5, -0.5, 0.5, 1.5])
PIXELS = np.array([3, 2, 1, -1, -2, -3, -2, -1, 1, 2])

spacings = st.sampled_from([0.25, 0.5, 1.0, 2.5, 7.0])
masks = arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 9))).filter(
    lambda mask: mask.any() and not mask.all()
)
every_kind = pytest.mark.parametrize("kind", KINDS)


def row(kind, spacing=(1.0, 1.0)):
    return contour_map(ROW, spacing, kind)[0]


def nearest(mask, spacing, gap):
    """(H, W): for each pixel the least distance over all pixels of the other side.

    gap: from a whole number of pixels along one axis to the distance along it, in pixels.
    """
    where = np.argwhere(np.ones_like(mask))
    offset = gap(np.abs(where[:, None] - where[None])) * np.array(spacing)
    length = np.sqrt((offset**2).sum(axis=-1))
    length[mask.ravel()[:, None] == mask.ravel()[None]] = np.inf
    return length.min(axis=1).reshape(mask.shape)


def to_square(pixels):
    return np.maximum(pixels - 0.5, 0)


def to_center(pixels):
    return pixels


@pytest.mark.parametrize("spacing", [0.25, 0.5, 1.0, 2.5])
def test_the_contour_of_a_row_runs_between_its_pixels(spacing):
    np.testing.assert_allclose(row("half_pixel", (9.0, spacing)), HALF_PIXEL * spacing)
    column = contour_map(ROW.T, (spacing, 9.0), "half_pixel")
    np.testing.assert_allclose(column[:, 0], HALF_PIXEL * spacing)


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        (1.0, [3, 2, 1, 0, -1, -2, -1, 0, 1, 2]),
        (0.5, [1.5, 1, 0.5, 0.5, 0, -0.5, 0, 0.5, 0.5, 1]),
        (2.5, [7.5, 5, 2.5, -1.5, -4, -6.5, -4, -1.5, 2.5, 5]),
    ],
)
def test_the_published_map_takes_one_millimeter_off_whatever_the_pixels_are(spacing, expected):
    np.testing.assert_allclose(row("published", (9.0, spacing)), expected)


def test_golden_rows_of_the_region_wise_maps():
    third = 1 / 3
    inside = [1, 1, 1, -third, -2 * third, -1, -2 * third, -third, 1, 1]
    outside = [-1, -2 * third, -third, 1, 1, 1, 1, 1, -third, -2 * third]
    np.testing.assert_allclose(row("rrw"), inside, rtol=1e-6)
    np.testing.assert_allclose(row("rrw_background"), outside, rtol=1e-6)
    np.testing.assert_allclose(row("edt"), PIXELS)
    np.testing.assert_allclose(row("edt_background"), -PIXELS)


@settings(max_examples=60, deadline=None)
@given(mask=masks, spacing=st.tuples(spacings, spacings))
def test_half_pixel_measures_to_the_nearest_square_of_the_other_side(mask, spacing):
    """Exact, also where the nearest center is of another pixel: of float32's rounding only."""
    distances = contour_map(mask, spacing, "half_pixel")
    expected = nearest(mask, spacing, to_square) * np.where(mask, -1, 1)
    np.testing.assert_allclose(distances, expected, rtol=1e-6)


def test_flat_pixels_of_which_another_is_nearest_by_its_center():
    """Of 5.2 by 1 mm: 4 mm to a center in the row, 3.5 to its square, and 2.6 to another."""
    mask = np.zeros((2, 5), dtype=bool)
    mask[1, 0] = mask[0, 4] = True
    distances = contour_map(mask, (5.2, 1.0), "half_pixel")
    assert distances[0, 0] == pytest.approx(2.6)


@settings(max_examples=60, deadline=None)
@given(mask=masks, spacing=st.tuples(spacings, spacings))
def test_every_pixel_is_at_least_half_its_size_from_the_contour_and_on_its_side(mask, spacing):
    distances = contour_map(mask, spacing, "half_pixel")
    assert (distances[mask] <= -min(spacing) / 2).all()
    assert (distances[~mask] >= min(spacing) / 2).all()


@settings(max_examples=40, deadline=None)
@given(mask=masks, spacing=st.tuples(spacings, spacings))
def test_the_other_kinds_measure_to_the_nearest_pixel_center(mask, spacing):
    height, width = spacing
    side = np.sqrt(height * width)  # of a square pixel of the same area
    pixels = nearest(mask, (height / side, width / side), to_center)
    published = nearest(mask, spacing, to_center)
    rectified = np.where(mask, -pixels / pixels[mask].max(), 1)
    expected = {
        "published": np.where(mask, 1 - published, published),
        "edt": np.where(mask, -pixels, pixels),
        "rrw": rectified,
    }
    for kind, values in expected.items():
        distances = contour_map(mask, spacing, kind)
        np.testing.assert_allclose(distances, values, rtol=1e-6, atol=1e-6, err_msg=kind)


@pytest.mark.parametrize("kind", ["edt", "rrw"])
def test_the_map_of_the_background_is_that_of_the_complement(kind):
    np.testing.assert_array_equal(row(f"{kind}_background"), contour_map(~ROW, (1, 1), kind)[0])


@pytest.mark.parametrize("filled", [False, True])
def test_a_slice_without_a_contour_has_no_distances(filled):
    mask = np.full((4, 5), filled)
    for kind in ("half_pixel", "published", "edt", "edt_background"):
        assert not contour_map(mask, (0.5, 2.0), kind).any(), kind
    present = -1 if filled else 1
    assert (contour_map(mask, (1, 1), "rrw") == present).all()
    assert (contour_map(mask, (1, 1), "rrw_background") == -present).all()


@every_kind
@pytest.mark.parametrize("present", [True, False])
def test_a_map_is_float32_of_the_shape_of_its_mask(kind, present):
    mask = np.eye(3, 5, dtype=bool) & present
    distances = contour_map(mask, (1.0, 1.0), kind)
    assert distances.dtype == np.float32
    assert distances.shape == mask.shape


@every_kind
def test_lengths_grow_with_the_slice_and_relative_maps_do_not(kind):
    """In a slice enlarged twofold, lengths double away from the contour; relative values stay.

    Centers move by a quarter of an old pixel, the nearest center of the other side is half a new
    pixel nearer, and the published code subtracts 1: together less than 2.
    """
    mask = np.zeros((41, 41), dtype=bool)
    mask[10:31, 10:31] = True
    small = contour_map(mask, (1.0, 1.0), kind)
    large = contour_map(mask.repeat(2, 0).repeat(2, 1), (1.0, 1.0), kind)[::2, ::2]
    factor = 2 if KINDS[kind].is_length else 1
    assert np.abs(large - factor * small).max() < (2 if KINDS[kind].is_length else 0.1)
    assert np.abs(large - small).max() > 8 or not KINDS[kind].is_length


@every_kind
def test_a_soft_mask_is_rejected(kind):
    """Its faintest pixel would be inside."""
    with pytest.raises(ValueError, match="boolean mask"):
        contour_map(ROW.astype(np.float32), (1.0, 1.0), kind)


def test_an_unknown_kind_is_rejected_with_the_list_of_kinds():
    with pytest.raises(ValueError, match=r"'sdf'.*half_pixel, published"):
        contour_map(ROW, (1, 1), "sdf")
