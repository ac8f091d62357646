"""Resampling to another grid: a copy where voxels coincide, else scipy's spline."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from softseg.data.nifti.grid import Grid
from softseg.preprocess.interpolation import interpolation_weights, resample


def grid(shape, linear=None, origin=(0, 0, 0)):
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3) if linear is None else linear
    affine[:3, 3] = origin
    return Grid(shape, affine)


def test_resampling_to_a_permuted_and_flipped_grid_copies_to_the_bit():
    volume = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    source = grid((4, 5, 6))
    # x' runs along -z, y' along x, z' along y
    linear = np.array([[0, 1, 0], [0, 0, 1], [-1, 0, 0]], dtype=float)
    target = grid((6, 4, 5), linear, origin=(0, 0, 5))
    expected = volume.transpose(2, 0, 1)[::-1]
    np.testing.assert_array_equal(resample(volume, source, target, order=2), expected)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_interpolation_equals_scipys_spline(order):
    volume = np.random.default_rng(1).normal(size=(17, 12, 5)).astype(np.float32)
    target = grid((30, 20, 5), np.diag([0.5, 0.6, 1]), origin=(0.25, 0.1, 0))
    where = np.meshgrid(
        0.25 + 0.5 * np.arange(30), 0.1 + 0.6 * np.arange(20), np.arange(5), indexing="ij"
    )
    expected = ndimage.map_coordinates(volume, where, order=order, mode="mirror")
    resampled = resample(volume, grid((17, 12, 5)), target, order)
    np.testing.assert_allclose(resampled[:, :18], expected[:, :18], atol=2e-5)


def test_resampling_a_box_equals_resampling_all_and_taking_the_box():
    volume = np.random.default_rng(2).normal(size=(120, 90, 4)).astype(np.float32)
    full_grid = grid((240, 180, 4), np.diag([0.5, 0.5, 1]), origin=(0.2, 0.2, 0))
    box = grid((32, 32, 4), np.diag([0.5, 0.5, 1]), origin=(0.2 + 50, 0.2 + 40, 0))
    source = grid((120, 90, 4))
    expected = resample(volume, source, full_grid, 2)[100:132, 80:112]
    np.testing.assert_allclose(resample(volume, source, box, 2), expected, atol=1e-5)


def test_outside_the_field_of_view_is_the_fill_value():
    volume = np.ones((4, 4, 2), dtype=np.float32)
    padded = resample(volume, grid((4, 4, 2)), grid((8, 4, 2), origin=(-2, 0, 0)), 1, fill=-7)
    assert (padded[:2] == -7).all()
    assert (padded[6:] == -7).all()
    assert (padded[2:6] == 1).all()


def test_interpolation_weights_sum_to_one_so_constants_stay():
    for order in (1, 2, 3):
        weights = interpolation_weights(np.linspace(-0.4, 8.4, 40), 9, order)
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("size", [12, 13])
@pytest.mark.parametrize("width", [2.0, 1.5, 3.0, 1.37])
def test_the_mean_over_wider_voxels_is_their_partial_volume(size, width):
    """Against 120 samples of each old voxel, whether the axis is even or odd."""
    mask = (np.random.default_rng(3).random((size, 5, 2)) > 0.5).astype(np.float32)
    count = round(size / width)
    start = ((size - 1) - (count - 1) * width) / 2
    target = grid((count, 5, 2), np.diag([width, 1, 1]), origin=(start, 0, 0))
    fine = np.repeat(mask, 120, axis=0)
    where = (np.arange(size * 120) + 0.5) / 120 - 0.5
    middles = start + width * np.arange(count)
    expected = [fine[np.abs(where - middle) < width / 2].mean(axis=0) for middle in middles]
    means = resample(mask, grid((size, 5, 2)), target, "mean")
    np.testing.assert_allclose(means, expected, atol=0.01)
    assert means.sum() * width == pytest.approx(mask.sum(), rel=0.12)  # but for the row's ends


def test_mean_is_linear_where_voxels_shrink_and_copies_where_they_coincide():
    volume = np.random.default_rng(4).random((9, 8, 4)).astype(np.float32)
    finer = grid((17, 8, 4), np.diag([0.5, 1, 1]))
    source = grid((9, 8, 4))
    np.testing.assert_array_equal(
        resample(volume, source, finer, "mean"), resample(volume, source, finer, 1)
    )
    np.testing.assert_array_equal(resample(volume, source, source, "mean"), volume)


def test_at_half_the_resolution_of_odd_axes_mean_is_soft_and_a_spline_is_hard():
    ball = np.linalg.norm(np.indices((15, 15, 3)) - [[[[7]]], [[[7]]], [[[1]]]], axis=0) < 5
    mask, source = ball.astype(np.float32), grid((15, 15, 3))
    target = grid((8, 8, 3), np.diag([2, 2, 1]))
    assert set(np.unique(resample(mask, source, target, 1))) == {0, 1}
    assert len(np.unique(resample(mask, source, target, "mean"))) > 3


def test_a_rotated_grid_is_rejected():
    c, s = np.cos(0.2), np.sin(0.2)
    rotated = grid((3, 3, 3), np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]))
    with pytest.raises(ValueError, match="rotated"):
        resample(np.zeros((3, 3, 3), np.float32), grid((3, 3, 3)), rotated, 1)
