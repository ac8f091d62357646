"""Slices in figures: the enlarged part, masks over images, outlines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from softseg.render.figures import slices
from softseg.render.figures.slices import Box, box_around, foreground_box, whole_slice

pytestmark = pytest.mark.filterwarnings("error")


def at(shape, *places):
    mask = np.zeros(shape, dtype=bool)
    for place in places:
        mask[place] = True
    return mask


def test_the_box_is_around_the_foreground_in_mm():
    # 2 x 1 mm pixels: a slice of 100 x 100 mm, foreground of 40 x 20 mm
    mask = at((50, 100), (slice(10, 30), slice(60, 80)))
    box = foreground_box([mask], (2, 1), least=0.3, margin=0.25)
    assert box.side == pytest.approx(60)
    # 20 to 60 mm from the patient's left, which is shown on the right; 60 to 80 mm from the back
    assert box.left + box.side / 2 == pytest.approx(100 - 40)
    assert box.bottom + box.side / 2 == pytest.approx(70)


def test_the_box_around_a_small_structure_has_a_least_size():
    box = foreground_box([at((100, 60), (50, 30))], (1, 1), least=0.3)
    assert box.side == pytest.approx(30)


def test_the_box_is_within_the_slice_and_the_whole_slice_without_foreground():
    assert foreground_box([at((100, 100), (0, 0))], (1, 1), least=0.3) == Box(70, 0, 30)
    assert (
        foreground_box([at((100, 50))], (1, 1))
        == whole_slice((100, 50), (1, 1))
        == Box(0, -25, 100)
    )


def test_a_box_is_moved_into_the_slice_or_centered_over_a_narrower_one():
    assert box_around((1, 50), 10, (100, 60)) == Box(0, 45, 10)
    assert box_around((99, 59), 10, (100, 60)) == Box(90, 50, 10)
    assert box_around((50, 1), 80, (100, 60)) == Box(10, -10, 80)


@given(
    st.tuples(st.integers(2, 30), st.integers(2, 30)),
    st.tuples(st.floats(0.2, 3), st.floats(0.2, 3)),
    st.data(),
)
def test_the_box_contains_all_foreground_of_all_masks(shape, pixel, data):
    place = st.tuples(*(st.integers(0, length - 1) for length in shape))
    places = data.draw(st.lists(place, min_size=1, max_size=4))
    box = foreground_box([at(shape, place) for place in places], pixel)
    width, height = shape[0] * pixel[0], shape[1] * pixel[1]
    assert 0.3 * max(width, height) <= box.side + 1e-6 <= max(width, height) + 1e-5
    for right, front in places:
        left, bottom = width - (right + 1) * pixel[0], front * pixel[1]
        assert box.left - 1e-6 <= left
        assert left + pixel[0] <= box.left + box.side + 1e-6
        assert box.bottom - 1e-6 <= bottom
        assert bottom + pixel[1] <= box.bottom + box.side + 1e-6


def pixels(image, prediction, box, pixel=(1.0, 1.0), truth=None):
    """What a cell of 100 x 100 pixels shows, (100, 100, 3) in [0, 255]."""
    figure = Figure(figsize=(1, 1), dpi=100)
    axes = slices.add_cell(figure, 0, 0, 1)
    slices.plot_slice(axes, image, pixel, box)
    slices.plot_overlay(axes, prediction, pixel, box)
    if truth is not None:
        slices.plot_outline(axes, truth, pixel)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].astype(int)


def test_a_prediction_is_red_where_it_is_one_and_transparent_where_it_is_zero():
    image = np.full((10, 10), 5.0) + np.arange(10)[:, None]
    soft = np.zeros((10, 10))
    soft[9, 9], soft[0, 0], soft[5, 0] = 1, 0.5, np.nan
    plain = pixels(image, np.zeros((10, 10)), whole_slice(image.shape, (1, 1)))
    shown = pixels(image, soft, whole_slice(image.shape, (1, 1)))
    assert shown[5, 5].tolist() == [255, 32, 0]  # the patient's right front is upper left
    half = (plain[95, 95] + [255, 32, 0]) / 2
    np.testing.assert_allclose(shown[95, 95], half, atol=3)
    changed = np.abs(shown - plain).sum(axis=2) > 0
    assert changed.sum() == pytest.approx(2 * 10 * 10, abs=45)


def test_the_enlarged_part_is_the_box():
    image = np.zeros((40, 20))
    image[30:34, 8:12] = 1  # 6 to 10 mm from the left, 24 to 36 mm from the back
    shown = pixels(image, np.zeros_like(image), Box(2, 18, 24), pixel=(1.0, 3.0))
    white = np.zeros((100, 100), dtype=bool)
    white[25:75, 17:33] = True
    assert np.mean((shown[:, :, 0] > 127) != white) < 0.03


def test_values_outside_of_the_box_do_not_change_its_gray_levels():
    image = np.tile(np.linspace(0, 1, 20), (20, 1))
    image[0, 0] = 1000
    shown = pixels(image, np.zeros_like(image), Box(0, 10, 10))
    assert shown[:, :, 0].min() == 0
    assert shown[:, :, 0].max() == 255


def test_nan_voxels_leave_the_others_visible():
    image = np.tile(np.linspace(0, 1, 20), (20, 1))
    image[:4] = np.nan
    shown = pixels(image, np.zeros_like(image), whole_slice(image.shape, (1, 1)))
    assert np.ptp(shown[:, 5, 0]) > 200


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_a_slice_of_one_value_can_be_shown(value):
    flat = np.full((12, 9), value)
    shown = pixels(
        flat, np.zeros((12, 9)), whole_slice(flat.shape, (1, 1)), truth=np.zeros((12, 9))
    )
    assert np.isfinite(shown).all()


def test_the_outline_runs_along_the_edge_of_the_truth():
    truth = np.zeros((10, 10))
    truth[2:5, 6:9] = 0.5
    box = whole_slice(truth.shape, (1, 1))
    bare, lined = (
        pixels(truth * 0, truth * 0, box, truth=outlined) for outlined in (truth * 0, truth)
    )
    rows, columns = np.nonzero(np.abs(lined - bare).sum(axis=2) > 60)
    # 2 to 5 mm from the left becomes 50 to 80 pixels; 6 to 9 mm from the back 10 to 40 from above
    assert [rows.min(), rows.max(), columns.min(), columns.max()] == pytest.approx(
        [10, 40, 50, 80], abs=2
    )
    assert not np.any((np.abs(rows - 25) < 10) & (np.abs(columns - 65) < 10))  # not filled


def test_the_outline_is_at_the_edges_of_single_pixels_also_at_the_border():
    truth = np.zeros((4, 3))
    truth[0, 0] = truth[2, 1] = 1  # at the border, and a pixel touched at no side
    axes = Figure().add_axes((0, 0, 1, 1))
    slices.plot_outline(axes, truth, (2.0, 1.0))
    [lines] = axes.collections
    edges = {tuple(map(tuple, np.sort(edge, axis=0).tolist())) for edge in lines.get_segments()}
    square = {
        (left, bottom): {
            ((left, bottom), (left + 2, bottom)),
            ((left, bottom + 1), (left + 2, bottom + 1)),
            ((left, bottom), (left, bottom + 1)),
            ((left + 2, bottom), (left + 2, bottom + 1)),
        }
        for left, bottom in ((6.0, 0.0), (2.0, 1.0))  # the patient's right is on the left
    }
    assert edges == square[6, 0] | square[2, 1]
