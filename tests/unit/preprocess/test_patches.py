"""Volumes as the samples of a 3D network: whole, cropped along two or three axes, with maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from softseg.data.nifti.grid import Grid
from softseg.preprocess.distance_maps import KINDS, contour_map
from softseg.preprocess.geometry import plan_geometry
from softseg.preprocess.patches import Patches, smallest_size
from softseg.preprocess.slices import Slices
from tests.support.steps import preprocess_steps

GRID = Grid((20, 16, 10), np.diag([1.0, 1.0, 3.0, 1.0]))


def test_a_volume_is_one_sample_and_comes_back():
    volumes = np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype(np.float32)
    samples = Patches().cut(volumes)
    assert samples.shape == (1, 2, 4, 5, 6)
    np.testing.assert_array_equal(Patches().stack(samples), volumes)


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_a_crop_of_two_values_is_in_the_plane_of_slices_in_3d_as_in_2d(axis):
    slices = Slices(axis=axis)
    steps = preprocess_steps([{"crop": {"size": [6, 4]}}])
    patches = Patches().with_plane(slices.in_plane)
    boxes = [plan_geometry(GRID, steps, samples, None).network for samples in (slices, patches)]
    assert boxes[0].shape == boxes[1].shape
    assert boxes[0].shape[slices.axis_index] == GRID.shape[slices.axis_index]
    assert patches.recipe != Patches().recipe or axis == "axial"


@pytest.mark.parametrize("samples", [Slices(axis="coronal"), Patches()])
def test_a_crop_of_three_values_crops_every_axis(samples):
    steps = preprocess_steps([{"crop": {"size": [6, 20, 4]}}])
    box = plan_geometry(GRID, steps, samples, None).network
    assert box.shape == (6, 20, 4)
    np.testing.assert_allclose(box.affine[:3, 3], [7, -2, 9])


def test_what_is_cut_from_a_volume_does_not_change_its_cache():
    assert Patches(size=(8, 8, 8), per_volume=3).recipe == Patches().recipe


def test_a_constant_volume_is_left_out_and_a_slice_of_it_keeps_the_others():
    image = torch.rand(1, 1, 4, 4, 4)
    image[..., 1] = 0.5
    target = torch.zeros_like(image)
    assert Patches().keep_mask(image, target, None).tolist() == [True]
    assert Patches().keep_mask(torch.ones_like(image), target, None).tolist() == [False]
    unknown = torch.ones_like(image)
    assert Patches().keep_mask(image, target, None, unknown).tolist() == [False]


def test_sides_that_differ_by_rounding_are_equal():
    nearly = Grid((4, 4, 4), np.diag([1.0, 1.0001, 0.9999, 1.0]))
    assert Patches().spacing(nearly) == (0.9999, 0.9999, 0.9999)
    assert Patches().spacing(GRID) == (1.0, 1.0, 3.0)


@pytest.mark.parametrize(
    ("shapes", "divisor", "size"),
    [
        ([(35, 50, 38), (40, 49, 30)], (8, 8, 8), (40, 56, 40)),
        ([(35, 50, 9)], (8, 8, 1), (40, 56, 9)),
        ([(240, 240, 155)], (32, 32, 32), (128, 128, 128)),
        ([(240, 10, 10)], (48, 48, 256), (96, 48, 256)),
    ],
)
def test_the_smallest_size_holds_every_volume_up_to_a_limit(shapes, divisor, size):
    assert smallest_size(shapes, divisor) == size


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.5, 2.0), (1.5, 0.5, 1.0)])
def test_the_map_of_a_ball_is_the_distance_to_its_sphere(spacing):
    """In closed form |x| - r, but for the steps of the voxels at its surface."""
    counts = [int(24 / side) + 1 for side in spacing]
    axes = [(np.arange(n) - (n - 1) / 2) * side for n, side in zip(counts, spacing, strict=True)]
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    distance = contour_map(radius <= 8, spacing, "half_pixel")
    assert np.abs(distance - (radius - 8)).max() < np.linalg.norm(spacing) / 2
    cubes = contour_map(radius <= 8, spacing, "edt") * np.prod(spacing) ** (1 / 3)
    assert np.abs(cubes - (radius - 8)).max() < np.linalg.norm(spacing)


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_of_a_volume_of_equal_slices_is_that_of_a_slice(kind):
    mask = np.zeros((9, 11), dtype=bool)
    mask[3:7, 2:8] = True
    volume = contour_map(np.repeat(mask[..., None], 3, axis=2), (1.0, 1.0, 1.0), kind)
    np.testing.assert_array_equal(volume[..., 1], contour_map(mask, (1.0, 1.0), kind))
