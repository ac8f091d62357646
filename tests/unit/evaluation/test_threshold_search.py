"""The threshold search agrees with counting voxels at each threshold, and plots its curves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from softseg.evaluation.threshold_search import (
    THRESHOLDS,
    best_threshold,
    dice_curve,
    plot_threshold_curves,
)
from softseg.runs.thresholds import Threshold

VALUES = [0, 0.05, 0.1, 0.3, 0.5, 0.549, 0.55, 0.95, 1]
GM = Threshold(0.3, {"0.10": 70.0, "0.30": 90.0, "0.50": 85.0})
WM = Threshold(0.5, {"0.10": 40.0, "0.30": 50.0, "0.50": 55.5})
volumes = arrays(np.float32, (4, 3, 2), elements=st.sampled_from(VALUES))


def plain_dice(mask, truth):
    size = mask.sum() + truth.sum()
    return 200 * (mask & truth).sum() / size if size else np.nan


@settings(max_examples=60, deadline=None)
@given(probability=volumes, truth=volumes)
def test_the_curve_is_dice_at_each_threshold(probability, truth):
    expected = [plain_dice(probability >= np.float32(t), truth >= 0.5) for t in THRESHOLDS]
    np.testing.assert_allclose(dice_curve(probability, truth), expected)


def test_the_thresholds_are_those_of_the_paper():
    assert tuple(round(0.05 * k, 2) for k in range(1, 20)) == THRESHOLDS


def test_the_largest_of_equally_good_thresholds_is_taken():
    truth = np.zeros((4, 4, 1), np.float32)
    truth[1:3, 1:3] = 1
    threshold = best_threshold([dice_curve(truth * np.float32(0.6), truth)])
    assert threshold.value == 0.6
    assert threshold.dice == pytest.approx(100)
    assert threshold.curve["0.65"] == 0


def test_the_mean_is_over_volumes_not_voxels():
    big, small = np.ones((10, 10, 1), np.float32), np.zeros((10, 10, 1), np.float32)
    small[0, 0] = 1
    curves = [dice_curve(big * np.float32(0.9), big), dice_curve(small * np.float32(0.2), small)]
    threshold = best_threshold(curves)
    assert threshold.value == 0.2
    assert threshold.curve["0.90"] == pytest.approx(50)


def test_a_volume_with_an_empty_truth_counts_only_where_the_prediction_is_not_empty():
    empty = np.zeros((3, 3, 1), np.float32)
    curve = dice_curve(empty + np.float32(0.3), empty)
    assert (curve[:6] == 0).all()
    assert np.isnan(curve[6:]).all()
    full = np.ones((3, 3, 1), np.float32)
    assert best_threshold([curve, dice_curve(full, full)]).curve["0.50"] == pytest.approx(100)


FLAT = Threshold(None, dict.fromkeys(["0.10", "0.30", "0.50"], 70.0))


@pytest.mark.parametrize("value", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_a_flat_curve_has_no_best_threshold(value, truth):
    """The output is 0 or 1 everywhere, or there is no foreground: every Dice is equal."""
    volume = np.zeros((3, 3, 1), np.float32)
    threshold = best_threshold([dice_curve(volume + np.float32(value), volume + np.float32(truth))])
    assert threshold.value is None
    assert threshold.used == 0.5
    assert threshold.dice == (100.0 if truth and value == 1 else 0.0)
    assert not threshold.is_at_edge


@pytest.mark.parametrize(("value", "is_at_edge"), [(0.05, True), (0.95, True), (0.1, False)])
def test_the_ends_of_the_search_are_recognized(value, is_at_edge):
    truth = np.zeros((4, 4, 1), np.float32)
    truth[1:3, 1:3] = 1
    soft = truth * np.float32(value) + (1 - truth) * np.float32(value - 0.04)
    threshold = best_threshold([dice_curve(soft, truth)])
    assert (threshold.value, threshold.is_at_edge) == (value, is_at_edge)


def test_the_plot_of_a_flat_curve_has_no_dot(tmp_path, saved_figure):
    plot_threshold_curves({"gm": FLAT}, tmp_path / "threshold.png")
    [axes] = saved_figure.figure.axes
    assert len(axes.lines) == 1
    [label] = axes.get_legend().get_texts()
    assert label.get_text() == "gm: 70.0 % at every threshold"


def test_the_plot_is_a_png_in_a_new_folder_and_replaces_an_earlier_one(tmp_path):
    path = tmp_path / "figures" / "threshold.png"
    plot_threshold_curves({"gm": GM}, path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert min(image.size) > 400
        assert np.asarray(image.convert("L")).std() > 5
    assert list(path.parent.iterdir()) == [path]
    plot_threshold_curves({"gm": WM}, path)


def test_the_plot_has_a_curve_and_a_dot_at_the_best_threshold_of_each_target(
    tmp_path, saved_figure
):
    plot_threshold_curves({"gm": GM, "wm": WM}, tmp_path / "threshold.png")
    [axes] = saved_figure.figure.axes
    curve, best, _, other_best = axes.lines
    np.testing.assert_array_equal(curve.get_xydata(), [[0.1, 70], [0.3, 90], [0.5, 85]])
    assert best.get_xydata().tolist() == [[0.3, 90]]
    assert other_best.get_xydata().tolist() == [[0.5, 55.5]]
    assert best.get_color() == curve.get_color()
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["gm: 90.0 % at 0.30", "wm: 55.5 % at 0.50"]
    assert axes.get_ylabel() == "mean Dice [%]"
