"""Distance maps of whole slices, cropped to what the network sees, and moved with the slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from softseg.augment import Batch
from softseg.core.errors import UserError
from softseg.data.nifti.grid import Grid
from softseg.preprocess.distance_maps import contour_map
from softseg.preprocess.geometry import Geometry
from softseg.preprocess.preprocess import preprocess
from softseg.preprocess.slices import Slices
from tests.support.affine import moved_by
from tests.support.preprocess_samples import noise, sample
from tests.support.steps import preprocess_steps
from tests.support.tiny import tiny_stack

AFFINE = np.diag([0.5, 2.0, 3.0, 1.0])


def target_mask(shape=(24, 16, 3)):
    """A soft square in the first slice, a corner in the second, nothing in the third."""
    mask = np.zeros(shape, np.float32)
    mask[4:10, 6:12, 0] = 1
    mask[3, 6:12, 0] = 0.4  # below 0.5: outside
    mask[:3, :3, 1] = 0.7
    return mask


def maps_of(mask, steps=(), kinds=("half_pixel",), affine=AFFINE, slices=None):
    subject = sample(noise(mask.shape), mask, affine=affine)
    return preprocess(subject, preprocess_steps(list(steps)), slices or Slices(), map_kinds=kinds)


def test_maps_are_those_of_each_slice_in_mm():
    kinds = ("half_pixel", "rrw")
    volume = maps_of(target_mask(), kinds=kinds)
    assert volume.maps.shape == (3, 2, 1, 24, 16)
    for index in range(3):
        inside = target_mask()[:, :, index] >= 0.5
        for m, kind in enumerate(kinds):
            expected = contour_map(inside, (0.5, 2.0), kind)
            np.testing.assert_allclose(volume.maps[index, m, 0], expected, rtol=1e-6)
    assert not volume.maps[2, 0].any()  # no contour, no distance


def test_a_crop_does_not_change_the_map_inside_it():
    """The second slice's corner is outside the crop; distances to it are measured all the same."""
    uncropped = maps_of(target_mask()).maps
    cropped = maps_of(target_mask(), [{"crop": {"size": [10, 6]}}])
    assert not cropped.target[1].any()
    torch.testing.assert_close(cropped.maps, uncropped[:, :, :, 7:17, 5:11])
    assert (cropped.maps[1] > 0).all()


def test_padding_repeats_the_value_at_the_edge():
    padded = maps_of(target_mask(), [{"crop": {"size": [28, 20]}}]).maps
    uncropped = maps_of(target_mask()).maps
    torch.testing.assert_close(padded[:, :, :, 2:-2, 2:-2], uncropped)
    torch.testing.assert_close(padded[:, :, :, 0], padded[:, :, :, 2])
    torch.testing.assert_close(padded[..., -1], padded[..., -3])


def test_a_crop_before_resampling_is_rejected():
    """Pixels of whole slices and of cropped ones would not coincide."""
    steps = [{"crop": {"size": [11, 7]}}, {"resample": {"zooms": [0.7, 1.5, None]}}]
    with pytest.raises(UserError, match="`crop` after `resample`"):
        maps_of(target_mask(), steps)
    assert maps_of(target_mask(), steps[::-1]).maps.shape[3:] == (11, 7)


def test_other_planes_have_their_own_spacing():
    mask = target_mask((24, 16, 9))
    volume = maps_of(mask, slices=Slices(axis="coronal"))
    expected = contour_map(mask[:, 7] >= 0.5, (0.5, 3.0), "half_pixel")
    np.testing.assert_allclose(volume.maps[7, 0, 0], expected, rtol=1e-6)


def test_without_a_contour_loss_there_are_no_maps():
    assert maps_of(target_mask(), kinds=()).maps.shape == (3, 0, 1, 24, 16)


@pytest.mark.parametrize(
    ("degrees", "scale", "down", "right"),
    [(20, 1, 0, 0), (0, 1.1, 0, 0), (0, 0.9, 0.03, -0.02), (-13, 1.1, 0.05, -0.08)],
)
def test_an_augmented_map_is_the_map_of_the_augmented_mask(degrees, scale, down, right):
    """A soft disc: the map moved with it, against the exact distance to the moved circle."""
    size, center, radius = 64, 31.5, 12.0
    y, x = np.mgrid[:size, :size] - center
    exact = torch.from_numpy(np.hypot(y, x) - radius).float()[None, None]
    batch = Batch(
        exact, (exact < 0).float(), torch.zeros(1, 1), {"half_pixel": exact, "rrw": exact}
    )
    moved = moved_by(batch, np.deg2rad(degrees), scale, down, right).maps
    # shifted by shares of the slice, then scaled about its center
    away = np.hypot(y - scale * down * size, x - scale * right * size)
    expected = torch.from_numpy(away - scale * radius).float()
    view = torch.zeros(size, size, dtype=torch.bool)
    view[12:-12, 12:-12] = True  # beyond, the value at the edge is repeated
    view &= torch.from_numpy(away > 2)  # linear interpolation cuts the tip at the disc's center
    distances = moved["half_pixel"][0, 0]
    torch.testing.assert_close(distances[view], expected[view], atol=0.07, rtol=0)
    torch.testing.assert_close(moved["rrw"] * scale, moved["half_pixel"])  # relative: not scaled
    assert moved["half_pixel"].min() < -8


@pytest.mark.parametrize("kind", ["half_pixel", "edt", "rrw", "edt_background"])
@pytest.mark.parametrize("degrees", [90, 35])
def test_the_map_of_a_rotated_slice_of_oblong_pixels_is_that_of_its_rotated_mask(kind, degrees):
    spacing, size = (0.5, 0.2), (40, 100)  # 20 x 20 mm
    row, column = (np.mgrid[: size[0], : size[1]] + 0.5) * np.array(spacing)[:, None, None] - 10

    def ellipse(angle):
        cos, sin = np.cos(angle), np.sin(angle)
        along, across = cos * row + sin * column, cos * column - sin * row
        return np.hypot(along / 7, across / 4) < 1

    before = contour_map(ellipse(0), spacing, kind)
    values = torch.from_numpy(before)[None, None]
    batch = Batch(values, values * 0, torch.zeros(1, 1), {kind: values})
    batch = replace(batch, spacing=torch.tensor([spacing]))
    angle = np.deg2rad(degrees)
    moved = moved_by(batch, angle).maps[kind]
    after = contour_map(ellipse(angle), spacing, kind)
    inner = np.hypot(row, column) < 9
    errors = np.abs(moved[0, 0].numpy() - after)[inner]
    scale = np.abs(after[inner]).max()
    # interpolation, and the corners of pixels along the contour; rrw jumps from -0 to 1 there
    assert np.quantile(errors, 0.9) < 0.07 * scale


def test_pixels_of_each_volume_reach_its_slices_in_every_plane():
    stack = tiny_stack()
    grids = [Grid((24, 24, 4), np.diag([0.5, 0.5, z, 1.0])) for z in (2.0, 0.5, 3.0, 0.50001)]
    volumes = tuple(
        replace(volume, geometry=Geometry(grid, grid))
        for volume, grid in zip(stack.volumes, grids, strict=True)
    )
    stack = replace(stack, volumes=volumes)
    assert (stack.spacings(Slices()) == 0.5).all()
    sizes = stack.spacings(Slices(axis="coronal"))
    torch.testing.assert_close(sizes[::4, 0], torch.full((4,), 0.5), atol=1e-4, rtol=0)
    torch.testing.assert_close(sizes[::4, 1], torch.tensor([2.0, 0.5, 3.0, 0.50001]))
    assert sizes[12, 0] == sizes[12, 1]  # nearly square
    assert len(sizes) == len(stack.image)
