from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import voxel_sizes

from softseg.data.nifti.grid import (
    Grid,
    canonical,
    canonical_voxels,
    corner_distance,
    same_place,
    upright,
)
from tests.support.makers import oblique


def shifted(grid: Grid, mm: float) -> Grid:
    affine = grid.affine.copy()
    affine[0, 3] += mm
    return Grid(grid.shape, affine)


def test_zooms_and_voxel_volume_of_an_oblique_grid() -> None:
    grid = Grid((8, 6, 4), oblique((0.5, 0.6, 3.0)))
    np.testing.assert_allclose(grid.zooms, voxel_sizes(grid.affine))
    assert grid.voxel_ml == pytest.approx(0.5 * 0.6 * 3.0 / 1000)


def test_corner_distance_is_in_mm_and_rotations_add_up_along_the_matrix() -> None:
    grid = Grid((101, 1, 1), np.eye(4))
    assert corner_distance(grid, shifted(grid, 2.0)) == pytest.approx(2.0)
    turned = grid.affine.copy()
    turned[1, 0] = 0.001
    assert corner_distance(grid, Grid(grid.shape, turned)) == pytest.approx(0.1)


@pytest.mark.parametrize(("mm", "same"), [(0, True), (1e-3, True), (0.09, True), (2, False)])
def test_header_rounding_is_tolerated_and_a_real_shift_is_not(mm: float, same: bool) -> None:
    grid = Grid((8, 6, 4), oblique((0.6, 0.6, 3.0)))
    assert same_place(grid, shifted(grid, mm)) is same


def test_grids_of_another_shape_are_not_in_the_same_place() -> None:
    assert not same_place(Grid((8, 6, 4), np.eye(4)), Grid((8, 6, 5), np.eye(4)))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA"])
def test_canonical_voxels_are_those_of_nibabel(codes: str) -> None:
    voxels = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    turns = nib.orientations.axcodes2ornt(codes)
    affine = np.diag([1.0, 2.0, 3.0, 1.0]) @ nib.orientations.inv_ornt_aff(turns, (3, 4, 5))
    grid = Grid((3, 4, 5), affine)
    for volume, turned in zip(voxels, canonical_voxels(voxels, grid), strict=True):
        expected = nib.as_closest_canonical(nib.Nifti1Image(volume, affine))
        np.testing.assert_array_equal(turned, np.asarray(expected.dataobj))
        np.testing.assert_array_equal(turned, canonical_voxels(volume, grid))
        assert turned.shape == canonical(grid).shape


def test_an_upright_slice_has_the_patients_right_on_the_left_and_the_front_up() -> None:
    slices = np.zeros((2, 5, 7))
    slices[1, 4, 6] = 1  # the last row is the most right, the last column the most anterior
    shown = upright(slices)
    assert shown.shape == (2, 7, 5)
    assert shown[1, 0, 0] == 1
    np.testing.assert_array_equal(shown[1], upright(slices[1]))
