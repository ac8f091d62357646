"""The picture of a scan: which slices it shows, how they are oriented, what is outlined."""

from __future__ import annotations

import numpy as np
import pytest
from nibabel import orientations

from softseg.data.nifti.grid import Grid, upright
from softseg.data.sample import Sample
from softseg.inference.overlay import write_overlay
from softseg.inference.write import overlay_file, write_predictions
from softseg.render.figures.overlay import MOST_SLICES
from tests.support import makers
from tests.support.figures import saved_figure, slice_axes

__all__ = ["saved_figure"]

SHAPE = (10, 14, 6)
AFFINE = np.diag([1.0, 0.5, 3.0, 1.0])


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 1, (1, *SHAPE)).astype(np.float32)
    truth = np.zeros((1, *SHAPE), np.float32)
    truth[0, 3:7, 4:9, 1:5] = 1
    return Sample(image, truth, None, ({},), Grid(SHAPE, AFFINE), {})


def soft_with(sample, **voxels):
    """The truth as a prediction, with errors in these slices: number of wrong voxels of each."""
    soft = sample.target.copy()
    for name, count in voxels.items():
        plane = soft[0, :, :, int(name.removeprefix("slice"))]
        plane[0, :count] = 1 - plane[0, :count]
    return soft


def unlabeled(sample):
    return Sample(sample.image, sample.target[:0], None, (), sample.grid, {})


def draw(sample, soft, path, axis=2, name="lesion"):
    write_overlay(path, "p1", sample, soft, [one >= 0.5 for one in soft], [name], axis)


def notes(figure):
    return [text.split("\n") for text in figure.texts if text.startswith("slice")]


def test_the_slices_of_the_largest_error_are_shown_with_the_outline_of_the_truth(
    sample, tmp_path, saved_figure
):
    draw(sample, soft_with(sample, slice0=2, slice2=5, slice4=1, slice5=9), tmp_path / "p1.png")
    assert notes(saved_figure) == [
        ["slice 6 of 6, whole"],
        ["slice 6 of 6", "error 4.5 mm²"],  # voxels of 1 x 0.5 mm
        ["slice 3 of 6", "error 2.5 mm²"],
        ["slice 1 of 6", "error 1 mm²"],
    ]
    assert any("truth" in text for text in saved_figure.texts)
    saved_figure.assert_readable(tmp_path / "p1.png")


def test_an_error_at_ignored_voxels_does_not_count(sample, tmp_path, saved_figure):
    sample.ignore = np.zeros(sample.target.shape, bool)
    sample.ignore[..., 5] = True
    draw(sample, soft_with(sample, slice2=1, slice5=9), tmp_path / "p1.png")
    assert notes(saved_figure)[1:] == [["slice 3 of 6", "error 0.5 mm²"]]


def test_without_truth_the_largest_areas_are_shown(sample, tmp_path, saved_figure):
    soft = np.zeros((1, *SHAPE), np.float32)
    for index in range(6):
        soft[0, 2 : 4 + index, 2:8, index] = 0.8
    draw(unlabeled(sample), soft, tmp_path / "p1.png")
    assert [note[0] for note in notes(saved_figure)[1:]] == [
        f"slice {index} of 6" for index in (6, 5, 4)
    ]
    assert notes(saved_figure)[1][1] == "area 21 mm²"
    assert "binary prediction" in " ".join(saved_figure.texts)


def test_an_empty_prediction_shows_the_slice_in_the_middle(sample, tmp_path, saved_figure):
    draw(unlabeled(sample), np.zeros((1, *SHAPE), np.float32), tmp_path / "p1.png")
    assert notes(saved_figure)[1:] == [["slice 4 of 6", "area 0 mm²"]]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAL"])
def test_slices_are_upright_for_every_orientation_of_the_voxels(
    codes, axis, sample, tmp_path, saved_figure
):
    turn = orientations.ornt_transform(
        orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(codes)
    )
    affine = AFFINE @ orientations.inv_ornt_aff(turn, SHAPE)
    image, soft = (
        orientations.apply_orientation(volume, turn)[None]
        for volume in (sample.image[0], sample.target[0])
    )
    turned = Sample(image, soft[:0], None, (), Grid(image.shape[1:], affine), {})
    draw(turned, soft, tmp_path / "p1.png", axis)
    index = int(notes(saved_figure)[0][0].split()[1]) - 1
    whole = slice_axes(saved_figure.figure)[0].images[0]
    np.testing.assert_array_equal(whole.get_array(), upright(np.take(sample.image[0], index, axis)))
    height, width = whole.get_array().shape
    zooms = np.delete([1.0, 0.5, 3.0], axis)
    assert whole.get_extent() == [0, width * zooms[0], 0, height * zooms[1]]


def test_several_targets_have_a_row_each_with_their_names(sample, tmp_path, saved_figure):
    names = ["gm", "a_$hostile$_name <b>", "core"]
    soft = np.repeat(sample.target, 3, axis=0)
    masks = [one >= 0.5 for one in soft]
    write_overlay(tmp_path / "p1.png", "p1", unlabeled(sample), soft, masks, names, 2)
    assert [text for text in saved_figure.texts if text.replace("\\", "") in names]
    assert len(slice_axes(saved_figure.figure)) == 3 * (1 + MOST_SLICES)
    saved_figure.assert_readable(tmp_path / "p1.png")


def test_the_frame_is_around_what_is_enlarged(sample, tmp_path, saved_figure):
    soft = sample.target
    draw(unlabeled(sample), soft, tmp_path / "p1.png")
    whole, enlarged = slice_axes(saved_figure.figure)[:2]
    [frame] = whole.patches
    assert enlarged.get_xlim() == (frame.get_x(), frame.get_x() + frame.get_width())
    assert enlarged.get_ylim() == (frame.get_y(), frame.get_y() + frame.get_height())
    assert frame.get_width() < whole.get_xlim()[1] - whole.get_xlim()[0]


def test_new_predictions_delete_the_picture_of_earlier_ones(tmp_path):
    source = makers.nifti(tmp_path / "p1.nii.gz", makers.scan(0, SHAPE), AFFINE)
    picture = overlay_file(tmp_path / "out", source)
    picture.parent.mkdir()
    picture.write_bytes(b"earlier")
    soft = np.zeros((1, *SHAPE), np.float32)
    write_predictions(tmp_path / "out", source, soft, [soft[0] >= 0.5], {"lesion": 0.5}, {})
    assert not picture.exists()
