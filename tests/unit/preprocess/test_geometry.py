"""Contract 2: the geometry of preprocessing has an exact inverse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.affines import apply_affine
from nibabel.orientations import aff2axcodes, axcodes2ornt, inv_ornt_aff

from softseg.data.nifti.grid import Grid, canonical, corner_distance
from softseg.preprocess.geometry import Geometry, center_of_mass, plan_geometry
from softseg.preprocess.interpolation import resample
from softseg.preprocess.slices import Slices
from softseg.preprocess.steps import Crop, Resample

CODES = [
    f"{x}{y}{z}" if order == 0 else f"{y}{z}{x}"
    for order in (0, 1)
    for x in "LR"
    for y in "PA"
    for z in "IS"
]


def oblique(shape, zooms, codes="RAS", degrees=(0, 0, 0)):
    """A scan in any orientation, tilted by three angles."""
    from scipy.spatial.transform import Rotation

    rotation = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(zooms)
    affine[:3, 3] = (-20, 13, 40)
    return Grid(shape, affine @ inv_ornt_aff(axcodes2ornt(codes), shape))


def blob(grid, radius_mm=6.0):
    """A smooth object: an ellipsoid around the middle of a scan, as a hard mask."""
    index = np.indices(grid.shape).reshape(3, -1).T
    world = apply_affine(grid.affine, index)
    center = apply_affine(grid.affine, (np.array(grid.shape) - 1) / 2)
    distance = np.linalg.norm((world - center) / [1, 0.7, 1.6], axis=1)
    return (distance < radius_mm).reshape(grid.shape).astype(np.float32)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("codes", CODES)
def test_canonical_is_ras_and_keeps_every_voxels_position(codes):
    grid = oblique((6, 7, 8), (0.5, 0.6, 3), codes, (4, -8, 5))
    ras = canonical(grid)
    assert aff2axcodes(ras.affine) == ("R", "A", "S")
    mask = np.random.default_rng(0).random(grid.shape).astype(np.float32)
    reoriented = resample(mask, grid, ras, 2)
    np.testing.assert_array_equal(resample(reoriented, ras, grid, 1), mask)


@settings(max_examples=40, deadline=None)
@given(
    codes=st.sampled_from(CODES),
    degrees=st.tuples(*[st.floats(-14, 14)] * 3),
    in_plane=st.floats(0.4, 0.8),
    thick=st.floats(2, 5),
)
def test_resampling_there_and_back_keeps_99_percent_dice(codes, degrees, in_plane, thick):
    grid = oblique((44, 40, 9), (in_plane, in_plane, thick), codes, degrees)
    steps = (Resample(zooms=(0.25, 0.25, None)),)
    geometry = plan_geometry(grid, steps, Slices(), None)
    mask = blob(grid, 7.0)
    back = geometry.to_native(resample(mask, geometry.native, geometry.network, 1))
    assert dice(back >= 0.5, mask >= 0.5) >= 0.99


@settings(max_examples=40, deadline=None)
@given(
    codes=st.sampled_from(CODES),
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    size=st.tuples(st.integers(1, 16), st.integers(1, 16)),
)
def test_a_crop_without_resampling_is_inverted_to_the_bit(codes, shape, size):
    grid = oblique(shape, (0.5, 0.5, 3), codes, (3, 2, 1))
    geometry = plan_geometry(grid, (Crop(size=size),), Slices(), None)
    assert geometry.network.shape[:2] == size
    mask = np.random.default_rng(0).random(shape).astype(np.float32)
    back = geometry.to_native(resample(mask, geometry.native, geometry.network, 1))
    inside = back > 0
    np.testing.assert_array_equal(back[inside], mask[inside])
    height, width = (min(s, n) for s, n in zip(size, canonical(grid).shape, strict=False))
    assert inside.sum() == height * width * canonical(grid).shape[2]


def test_resampling_keeps_the_field_of_views_center():
    grid = oblique((31, 20, 7), (0.7, 0.6, 3), degrees=(5, 5, 5))
    fine = Resample(zooms=(0.25, 0.31, None))(grid)
    middle = [apply_affine(g.affine, (np.array(g.shape) - 1) / 2) for g in (grid, fine)]
    np.testing.assert_allclose(*middle, atol=1e-9)
    np.testing.assert_allclose(fine.zooms, (0.25, 0.31, 3))


def test_zooms_that_differ_by_rounding_only_are_not_resampled():
    grid = oblique((31, 20, 7), (0.24999, 0.25002, 3))
    same = Resample(zooms=(0.25, 0.25, None))(grid)
    assert same.shape == grid.shape
    assert corner_distance(same, grid) < 1e-9


def test_a_crop_around_the_roi_is_centered_on_it_and_may_reach_outside():
    grid = oblique((40, 40, 5), (0.5, 0.5, 3), "LPS", (0, 0, 10))
    roi = np.zeros(grid.shape, dtype=np.float32)
    roi[2:7, 30:35, :] = 1
    steps = (Resample(zooms=(0.25, 0.25, None)), Crop(size=(32, 32), around="roi"))
    center = center_of_mass(roi, grid)
    geometry = plan_geometry(grid, steps, Slices(), center)
    middle = apply_affine(geometry.network.affine, (np.array(geometry.network.shape) - 1) / 2)
    assert np.linalg.norm((middle - center)[:2]) < 0.25
    resampled = resample(roi, geometry.native, geometry.network, 1)
    assert resampled.sum() * 0.25 == pytest.approx(roi.sum(), rel=0.02)


def test_sagittal_slices_are_cropped_along_the_other_two_axes():
    grid = oblique((10, 20, 30), (1, 1, 1))
    geometry = plan_geometry(grid, (Crop(size=(8, 16)),), Slices(axis="sagittal"), None)
    assert geometry.network.shape == (10, 8, 16)


@pytest.mark.real_data
def test_real_gray_matter_is_resampled_there_and_back(real_data):
    import nibabel as nib

    paths = sorted((real_data / "spinal-gm").rglob("*_gmseg-manual.nii.gz"))
    assert len(paths) == 8
    for path in paths:
        image = nib.load(path)
        grid = Grid(image.shape, image.affine)
        mask = np.asarray(image.dataobj, dtype=np.float32)
        steps = (Resample(zooms=(0.25, 0.25, None)),)
        geometry: Geometry = plan_geometry(grid, steps, Slices(), None)
        back = geometry.to_native(resample(mask, grid, geometry.network, 1))
        assert dice(back >= 0.5, mask >= 0.5) >= 0.99, path.name


@pytest.mark.parametrize("codes", CODES)
def test_native_axis_is_right_in_any_orientation(codes):
    grid = oblique((6, 7, 8), (0.5, 0.6, 3), codes, (4, -8, 5))
    geometry = plan_geometry(grid, (), Slices(), None)
    up = next(axis for axis, code in enumerate(aff2axcodes(grid.affine)) if code in "IS")
    assert geometry.native_axis(2) == up
