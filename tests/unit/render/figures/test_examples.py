"""The figure of chosen subjects' predictions."""

from __future__ import annotations

import numpy as np
import pytest

from softseg.render.figures import examples
from softseg.render.figures.examples import Example, box_of
from tests.support.figures import ODD

pytestmark = pytest.mark.filterwarnings("error")


def example(names, title="best: sub-01", shape=(40, 30), pixel=(1.0, 1.0)):
    truth = np.zeros(shape)
    truth[10:16, 10:16] = 1
    soft = dict.fromkeys(names, 0.6 * truth)
    binary = dict.fromkeys(names, truth > 0)
    return Example(title, truth + 1, truth, soft, binary, pixel, dict.fromkeys(names, 87.25))


def shown(figure):
    """The axes that hold a slice."""
    return [axes for axes in figure.axes if axes.get_facecolor()[:3] == (0, 0, 0)]


def test_subjects_of_different_shape_and_voxels_side_by_side(tmp_path, saved_figure):
    path = tmp_path / "e.png"
    names = ["a", "MMMMMMMMMMMM"]
    columns = [
        example(names, "worst: sub-01"),
        example(names, "best: sub-02", (60, 80), (0.25, 0.5)),
    ]
    examples.draw(columns, path)
    saved_figure.assert_readable(path)
    assert len(shown(saved_figure.figure)) == 2 * 2 * (1 + 2)
    assert saved_figure.texts.count("Dice 87.2 %") == 4
    assert {"worst: sub-01", "best: sub-02", "a"} <= set(saved_figure.texts)
    for word in ("image", "ground truth", "soft", "binary"):
        assert saved_figure.texts.count(word) == 2
    for axes in shown(saved_figure.figure):  # millimeters are square
        assert np.ptp(axes.get_xlim()) == pytest.approx(np.ptp(axes.get_ylim()))


def test_the_first_cell_is_the_whole_slice_with_a_frame_around_the_rest(tmp_path, saved_figure):
    one = example(["a"])
    examples.draw([one], tmp_path / "e.png")
    whole, *others = shown(saved_figure.figure)
    assert whole.get_xlim() == (0, 40)
    [frame] = whole.patches
    box = box_of(one)
    assert (frame.get_x(), frame.get_y(), frame.get_width()) == (box.left, box.bottom, box.side)
    for axes in others:
        assert axes.get_xlim() == pytest.approx((box.left, box.left + box.side))
        assert axes.get_ylim() == pytest.approx((box.bottom, box.bottom + box.side))


def test_the_box_holds_every_candidates_mask():
    one = example(["a", "b"])
    far = np.zeros((40, 30), dtype=bool)
    far[39, 29] = True
    wider = Example(one.title, one.image, one.truth, one.soft, {**one.binary, "b": far})
    assert box_of(one).side == pytest.approx(12)  # 30 % of 40 mm
    assert box_of(wider).side == pytest.approx(40)  # 30 mm and margins


def test_a_candidate_without_a_prediction_has_no_cell(tmp_path, saved_figure):
    path = tmp_path / "e.png"
    examples.draw([example(["a", "b"]), example(["b"])], path)
    saved_figure.assert_readable(path)
    assert len(shown(saved_figure.figure)) == 6 + 4


def test_nothing_there_nothing_found_and_odd_names(tmp_path, saved_figure):
    path = tmp_path / "e.png"
    nothing = np.zeros((30, 20))
    dice = {ODD[0]: float("nan"), ODD[1]: 100.0}
    masks = dict.fromkeys(ODD, nothing)
    title = "median: sub-amsterdam0001_acq-axial_run-01, the second scan"
    one = Example(title, nothing + 3, nothing, masks, masks, (0.5, 1.0), dice)
    examples.draw([one] * 3, path)
    saved_figure.assert_readable(path)
    assert {"no Dice", "Dice 100.0 %"} <= set(saved_figure.texts)
