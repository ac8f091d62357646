"""The lines, dots, bars and numbers that each figure shows."""

from __future__ import annotations

import statistics
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from softseg.metrics.volume_bias import volume_bias_table
from softseg.render.figures.calibration import plot_uncertainty
from softseg.render.figures.learning import plot_timing
from softseg.render.figures.predictions import (
    Example,
    box_of,
    edge_box,
    plot_examples,
    plot_progression,
)
from softseg.render.figures.softness import density
from softseg.render.figures.style import colors
from tests.support.figure_data import (
    BINS,
    CURVES,
    ERRORS,
    IDEAL,
    IMAGE,
    SOFT,
    STAGES,
    beta,
    bias_table,
    example,
    history,
    intervals,
    plot,
    plot_bland_altman,
    plot_by_center,
    plot_by_resolution,
    plot_density,
    plot_learning_curves,
    plot_reliability,
    plot_scores,
    plot_thresholds,
    plot_volume_bias,
)
from tests.support.figures import PAPER, TEN, slice_axes

pytestmark = pytest.mark.filterwarnings("error")
NAN = float("nan")
# Bland and Altman 1986, table 1: peak flow [l/min] of 17 subjects, large and mini meter
LARGE = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
RUNS = [{0.1: 70.0, 0.3: 90.0, 0.5: 80.0}, {0.1: 60.0, 0.3: 70.0, 0.5: 76.0}]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "figure.png"


def dots(axes):
    return [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "o"]


# ----- Bland-Altman plots


def test_bias_and_limits_are_lines_and_numbers(path, saved_figure):
    plot_bland_altman({"a": (np.array(LARGE), np.array(MINI))}, path)
    saved_figure.assert_readable(path)
    [axes] = saved_figure.figure.axes
    minus = "\N{MINUS SIGN}"
    assert axes.get_title() == f"a\nbias {minus}2.1 ml\nlimits {minus}78.1 to +73.9 ml"
    heights = sorted(line.get_ydata()[0] for line in axes.lines)
    assert heights == pytest.approx([-78.1, -2.1, 0, 73.9], abs=0.1)
    assert len(axes.collections[0].get_offsets()) == 17
    assert any("[ml]" in text for text in saved_figure.texts)


def test_panels_of_volumes_have_the_same_axes(path, saved_figure):
    plot("bland_altman", TEN[4:8], path)
    assert len({axes.get_ylim() for axes in saved_figure.figure.axes}) == 1


# ----- Dice by center and resolution


def test_a_row_of_a_center_has_a_dot_and_an_interval_of_each_candidate(path, saved_figure):
    tables = {
        "a": intervals((0.5, 80, 75, 82), (0.3, 60, 55, 70)),
        "b": intervals(*[(1, 7, 6, 9)] * 2),
    }
    plot_by_center(tables, path)
    saved_figure.assert_readable(path)
    [axes] = saved_figure.figure.axes
    [first, second] = dots(axes)
    assert [x for x, _ in first] == [80, 60]
    assert [x for x, _ in second] == [7, 7]
    assert first[0][1] < 0 < second[0][1] < first[1][1] < 1  # candidates one below the other
    ends = [segment[:, 0].tolist() for segment in axes.collections[0].get_segments()]
    assert ends == [[75, 82], [55, 70]]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first center on top


def test_candidates_are_next_to_each_other_at_each_resolution(path, saved_figure):
    table = intervals((0.25, 80, 75, 82), (0.3, 60, 55, 70), (0.5, 70, 65, 75))
    plot_by_resolution(dict.fromkeys(PAPER, table), path)
    saved_figure.assert_readable(path)
    [axes] = saved_figure.figure.axes
    lines = [line for line in axes.lines if line.get_label() in PAPER]
    x = np.array([line.get_xdata() for line in lines])
    assert x.mean(axis=0) == pytest.approx([0.25, 0.3, 0.5])
    assert (np.diff(x, axis=0) > 0).all()
    assert (np.ptp(x, axis=0) < 0.025).all()  # less than half of the least gap
    assert lines[0].get_ydata().tolist() == [80, 60, 70]


# ----- density


def test_zeros_and_nan_are_left_out_of_the_density(path, saved_figure):
    values = np.concatenate([beta(3, 4), np.zeros(9000), [np.nan]]).reshape(-1, 1)
    plot_density({"a": values}, path)
    x, heights = saved_figure.figure.axes[0].lines[0].get_data()
    np.testing.assert_allclose(heights, density(beta(3, 4), x))


# ----- examples


def test_subjects_of_different_shape_and_voxels_are_next_to_each_other(path, saved_figure):
    names = ["a", "MMMMMMMMMMMM"]
    other = example(names, "best: sub-02", (60, 80), (0.25, 0.5))
    plot_examples([example(names, "worst: sub-01"), other], path)
    saved_figure.assert_readable(path)
    assert len(slice_axes(saved_figure.figure)) == 2 * 2 * (1 + 2)
    assert saved_figure.texts.count("Dice 87.2 %") == 4
    assert {"worst: sub-01", "best: sub-02", "a"} <= set(saved_figure.texts)
    for text in ("image", "ground truth", "soft", "binary"):
        assert saved_figure.texts.count(text) == 2
    for axes in slice_axes(saved_figure.figure):  # millimeters are square
        assert np.ptp(axes.get_xlim()) == pytest.approx(np.ptp(axes.get_ylim()))


def edge(truth, *soft, pixel=(1.0, 1.0)):
    """The close-up of an example with this truth and these soft predictions, and its center."""
    predictions = {f"c{k}": mask for k, mask in enumerate(soft)}
    binary = {name: mask >= 0.5 for name, mask in predictions.items()}
    box = edge_box(Example("t", truth, truth, predictions, binary, pixel, {}))
    return box, (box.left + box.side / 2, box.bottom + box.side / 2)


def test_a_close_up_is_where_the_truth_and_the_predictions_are_softest():
    truth, soft = np.zeros((2, 100, 80))
    truth[20:70, 20:70] = 1
    soft[20:70, 20:70] = 1
    soft[64:69, 40:45] = 0.5  # x is to the patient's left: 100 - 66.5; y is to the front: 42.5
    box, center = edge(truth, soft)
    assert box.side == pytest.approx(70 / 3)  # a third of the box with margins of 20 %
    assert np.abs(np.subtract(center, (33.5, 42.5))).max() <= box.side / 2
    soft[64:69, 40:45] = 1
    truth[25:30, 60:65] = 0.5
    _, center = edge(truth, soft)
    assert np.abs(np.subtract(center, (72.5, 62.5))).max() <= box.side / 2


def test_a_close_up_of_anisotropic_pixels_is_in_mm_and_has_ten_of_the_larger():
    truth = np.zeros((50, 100))
    truth[30:32, 60:64] = 0.5  # 4 x 4 mm of a slice of 100 x 100 mm
    box, center = edge(truth, truth, pixel=(2.0, 1.0))
    assert box.side == pytest.approx(20)
    assert np.abs(np.subtract(center, (38, 62))).max() <= 10


def test_a_close_up_of_binary_masks_is_at_an_edge_of_the_truth_and_else_the_whole_box():
    truth = np.zeros((100, 100))
    truth[20:80, 20:80] = 1
    box, (x, y) = edge(truth, truth)
    distance = min(abs(x - 20), abs(x - 80), abs(y - 20), abs(y - 80))
    assert box.side == pytest.approx(84 / 3)
    assert distance < box.side / 2
    empty = np.zeros((30, 20))
    assert edge(empty, empty)[0] == box_of(Example("t", empty, empty, {}, {}, (1.0, 1.0), {}))


def test_all_cells_of_a_close_up_have_the_same_crop_and_colors(path, saved_figure):
    subject = example(["a", "b"])
    plot_examples([subject], path, edge_box)
    saved_figure.assert_readable(path)
    _, *rest = slice_axes(saved_figure.figure)
    box = edge_box(subject)
    for axes in rest:
        assert axes.get_xlim() == pytest.approx((box.left, box.left + box.side))
        assert axes.get_ylim() == pytest.approx((box.bottom, box.bottom + box.side))
        assert axes.images[1].get_clim() == (0, 1)


def test_the_first_cell_is_the_whole_slice_with_a_frame_around_the_enlarged_part(
    path, saved_figure
):
    subject = example(["a"])
    plot_examples([subject], path)
    first, *rest = slice_axes(saved_figure.figure)
    assert first.get_xlim() == (0, 40)
    [frame] = first.patches
    box = box_of(subject)
    assert (frame.get_x(), frame.get_y(), frame.get_width()) == (box.left, box.bottom, box.side)
    for axes in rest:
        assert axes.get_xlim() == pytest.approx((box.left, box.left + box.side))
        assert axes.get_ylim() == pytest.approx((box.bottom, box.bottom + box.side))


# ----- learning curves


def test_a_row_per_candidate_has_its_runs_and_their_median(path, saved_figure):
    runs = [history([400.0, 10.0], [500.0, 40.0]), history([200.0, 20.0], [300.0, 20.0])]
    plot_learning_curves({"a": runs, "b": [history([0.5, 0.3], dice=[20.0, 30.0])]}, path)
    saved_figure.assert_readable(path)
    train, val, dice, *second = saved_figure.figure.axes
    assert [line.get_ydata().tolist() for line in train.lines] == [[400, 10], [200, 20], [300, 15]]
    assert val.lines[-1].get_ydata().tolist() == [400, 30]
    assert train.get_yscale() == val.get_yscale() == "log"
    assert train.get_ylim() == val.get_ylim() != second[0].get_ylim()
    assert second[0].get_yscale() == "linear"
    assert dice.get_ylim() == second[2].get_ylim()
    assert len(second[0].lines) == 1  # a single run is its own median
    titles = {"training loss", "validation loss", "validation Dice [%]"}
    assert {*titles, "a", "b"} <= set(saved_figure.texts)


# ----- progression


def test_each_row_ends_with_its_own_last_epoch(path, saved_figure):
    long, short = dict.fromkeys([1, 20, 40, 50], SOFT), dict.fromkeys([1, 20], SOFT)
    plot_progression({"a": long, "b": short}, IMAGE, SOFT, path)
    saved_figure.assert_readable(path)
    expected = {"epoch 1", "20", "40", "last", "epoch\n50", "epoch\n20"}
    assert expected <= set(saved_figure.texts)
    # image and truth, four of one candidate, two of the other
    assert len(slice_axes(saved_figure.figure)) == 2 + 4 + 2
    assert any("training had ended" in text for text in saved_figure.texts)


def test_epochs_that_all_candidates_have_leave_no_gap_to_explain(path, saved_figure):
    plot_progression({"a": dict.fromkeys([1, 2], SOFT)}, IMAGE, SOFT, path)
    assert not any("no cell" in text for text in saved_figure.texts)


@pytest.mark.parametrize("ignored", [True, False])
def test_ignored_voxels_are_hatched_in_progressions_and_examples(path, saved_figure, ignored):
    """In the cells that show a truth or a prediction, and only if there are any."""
    mask = np.zeros(SOFT.shape, dtype=bool)
    mask[:9] = ignored
    plot_progression({"a": {1: SOFT, 2: SOFT}}, IMAGE, SOFT, path, mask)
    assert number_hatched(saved_figure) == 3 * ignored
    assert any("gray hatching" in text for text in saved_figure.texts) == ignored
    one = example(["a"])
    plot_examples([replace(one, ignore=np.full(one.truth.shape, ignored))], path)
    assert number_hatched(saved_figure) == 3 * ignored
    assert any("gray hatching" in text for text in saved_figure.texts) == ignored


def number_hatched(saved_figure):
    collections = [c for axes in saved_figure.figure.axes for c in axes.collections]
    return sum(any(getattr(c, "hatches", ())) for c in collections)


# ----- reliability diagram


def test_filled_bins_have_a_dot_and_a_bar_of_their_count(path, saved_figure):
    plot_reliability({"a": BINS}, path)
    saved_figure.assert_readable(path)
    upper, lower = saved_figure.figure.axes
    [points] = dots(upper)
    assert np.allclose(points, [[0.1, 0.05], [0.6, 1], [0.9, 0.9]])
    assert any(np.array_equal(line.get_xydata(), [[0, 0], [1, 1]]) for line in upper.lines)
    assert [bar.get_height() for bar in lower.patches] == [1000, 1, 50]
    middles = [bar.get_x() + bar.get_width() / 2 for bar in lower.patches]
    assert middles == pytest.approx([0.125, 0.625, 0.875])
    assert lower.get_yscale() == "log"
    assert lower.get_ylim()[0] < 1  # a single voxel is visible
    assert "a\nECE 0.048" in saved_figure.texts  # (50 + 0 + 0.4 + 0) / 1051


def test_bars_of_candidates_are_next_to_each_other_within_their_bin(path, saved_figure):
    plot_reliability(dict.fromkeys(PAPER, BINS), path)
    saved_figure.assert_readable(path)
    bars = saved_figure.figure.axes[1].patches
    edges = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars)
    assert all(a[1] <= b[0] + 1e-9 for a, b in pairwise(edges))
    assert all(int(low * 4) == int(high * 4) for low, high in edges)


@pytest.mark.parametrize("names", [TEN[:1], TEN])
def test_the_legend_has_the_calibration_error_of_each_candidate(path, saved_figure, names):
    plot("reliability", names, path)
    assert sum("ECE" in text for text in saved_figure.texts) == len(names)


# ----- scores


def test_a_strip_has_a_dot_per_subject_a_box_and_the_median(path, saved_figure):
    values = [70.0, 90.0, NAN, 80.0, 60.0, 95.0]
    plot_scores({"a": np.array([50.0]), "b": np.array(values)}, path)
    saved_figure.assert_readable(path)
    [axes] = saved_figure.figure.axes
    assert axes.get_xlim()[0] < 50 - 1  # no dot on the edge
    finite = [value for value in values if value == value]
    points = axes.collections[-1].get_offsets()
    assert points[:, 0].tolist() == finite
    assert np.all(np.abs(points[:, 1] - 1) < 0.3)  # none reaches another candidate's row
    box = axes.containers[1][0]
    low, _, high = statistics.quantiles(finite, n=4, method="inclusive")
    assert [box.get_x(), box.get_x() + box.get_width()] == pytest.approx([low, high])
    expected = {"median 80.0\nn = 5 of 6", "median 50.0\nn = 1", "a", "b"}
    assert expected <= set(saved_figure.texts)


def test_all_scores_are_within_the_axes(path, saved_figure):
    plot("scores", TEN, path)
    low, high = saved_figure.figure.axes[0].get_xlim()
    assert low < -1500 < 70 < high


# ----- thresholds


def test_a_flat_curve_is_shown_without_a_best_threshold(path, saved_figure):
    plot_thresholds({"a": [{0.1: 70.0, 0.5: 70.0}]}, path)
    [axes] = saved_figure.figure.axes
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[0.1, 70], [0.5, 70]])
    [points] = axes.collections
    assert len(points.get_offsets()) == 0


def test_a_panel_shows_mean_range_and_the_best_threshold_of_each_run(path, saved_figure):
    plot_thresholds({"a": [RUNS[0]], "b": RUNS}, path)
    first, second = saved_figure.figure.axes
    np.testing.assert_array_equal(second.lines[0].get_xydata(), [[0.1, 65], [0.3, 80], [0.5, 78]])
    band, points = second.collections
    assert {60, 70, 76, 90} <= set(band.get_paths()[0].vertices[:, 1])
    assert points.get_offsets().tolist() == [[0.3, 90], [0.5, 76]]
    [point] = first.collections  # one run has no band
    assert point.get_offsets().tolist() == [[0.3, 90]]
    assert first.get_ylim() == second.get_ylim()
    line_colors = [axes.lines[0].get_color() for axes in (first, second)]
    assert line_colors == list(colors(["a", "b"]).values())


@pytest.mark.parametrize("names", [TEN[5:6], TEN[2:8]])
def test_the_axes_of_thresholds_have_labels(path, saved_figure, names):
    plot("thresholds", names, path)
    assert {"threshold", "Dice [%]"} <= set(saved_figure.texts)


# ----- timing


def test_stages_are_stacked_and_the_total_is_written(path, saved_figure):
    plot_timing({"a": STAGES, "b": {"validation": 1800.0, "other": 18.0}}, path)
    saved_figure.assert_readable(path)
    stages = saved_figure.figure.axes[0].containers
    starts = [[bar.get_x() for bar in bars] for bars in stages]
    assert [start[0] for start in starts] == pytest.approx([0, 1.5, 1.75, 1.9, 2.0])
    ends = [[bar.get_x() + bar.get_width() for bar in bars] for bars in stages]
    assert ends[-1] == pytest.approx([2, 0.505])
    assert {"2.00 h", "0.51 h", "time [h]", *STAGES, "other"} <= set(saved_figure.texts)


def test_stages_do_not_have_the_colors_of_candidates(path, saved_figure):
    plot_timing({"a": STAGES}, path)
    shades = {to_hex(bars[0].get_facecolor()) for bars in saved_figure.figure.axes[0].containers}
    assert len(shades) == len(STAGES)
    assert not shades & set(colors(TEN).values())


def test_the_totals_are_within_the_axes(path, saved_figure):
    plot("timing", TEN, path)
    assert saved_figure.figure.axes[0].get_xlim()[1] > 2.1


# ----- uncertainty


def test_each_measure_of_uncertainty_has_a_line_next_to_ideal_and_chance(path, saved_figure):
    plot_uncertainty({"gm": CURVES}, path)
    saved_figure.assert_readable(path)
    left, right = saved_figure.figure.axes
    lines = [line.get_xydata() for line in left.lines]
    for error in (*ERRORS.values(), IDEAL):
        assert any(len(line) == 20 and np.allclose(line[:, 1], error) for line in lines)
    assert left.get_xlim() == (0, 100)
    mean = ERRORS["mutualinfo"].mean()
    assert f"by mutual information (mean {mean:.2f})" in saved_figure.texts
    assert any(line.get_linestyle() == ":" for line in left.lines)
    assert len(dots(right)) == 2
    assert np.allclose(dots(right)[0], [[0.1, 0.05], [0.6, 1], [0.9, 0.9]])
    assert "one pass (ECE 0.048)" in saved_figure.texts


def test_each_target_has_a_row_with_its_name(path, saved_figure):
    plot("uncertainty", ["gm", "a_rather_long_name_of_white_matter_lesions"], path)
    saved_figure.assert_readable(path)
    assert len(saved_figure.figure.axes) == 4
    assert any("gm: calibration" in text for text in saved_figure.texts)


# ----- volume bias


def test_each_center_has_a_dot_and_an_interval_next_to_the_line_of_no_bias(path, saved_figure):
    table = bias_table(
        ("b", "soft", 5, 0, 1.5, 1.0, 2.5),
        ("b", "hard", 5, 0, -3.0, -4.0, -2.0),
        ("a", "soft", 1, 2, 0.5, NAN, NAN),
        ("a", "hard", 3, 0, 0.0, -1.0, 1.0),
    )
    plot_volume_bias({"x": table}, path)
    saved_figure.assert_readable(path)
    soft, hard = saved_figure.figure.axes
    assert (soft.get_title(), hard.get_title()) == ("soft volume", "thresholded volume")
    assert dots(soft) == [[[1.5, 0], [0.5, 1]]]
    assert dots(hard) == [[[-3, 0], [0, 1]]]
    ends = [segment[:, 0].tolist() for segment in hard.collections[0].get_segments()]
    assert ends == [[-4, -2], [-1, 1]]
    assert any(list(line.get_xdata()) == [0, 0] for line in soft.lines)
    assert soft.get_ylim()[0] > soft.get_ylim()[1]  # the first center on top
    assert {"b\nn = 5", "a\nn = 1 to 3\n2 left out"} <= set(saved_figure.texts)
    assert soft.get_xlim() == hard.get_xlim()


def test_candidates_have_different_heights_in_a_center_even_if_one_lacks_it(path, saved_figure):
    rows = ((c, v, 2, 0, 1.0, 0.0, 2.0) for c in "ab" for v in ("soft", "hard"))
    table = bias_table(*rows)
    tables = dict.fromkeys(PAPER, table) | {"late": table[table["group"] == "b"]}
    plot_volume_bias(tables, path)
    saved_figure.assert_readable(path)
    points = dots(saved_figure.figure.axes[0])
    heights = np.array([[y for _, y in candidate] for candidate in points])
    assert len(np.unique(heights)) == heights.size == 12
    assert (np.abs(heights - [0, 1]) < 0.5).all()
    biases = [candidate[0][0] for candidate in points]
    assert np.isnan(biases).tolist() == [False] * 5 + [True]


def test_the_bias_is_that_of_the_table_of_subjects(path, saved_figure):
    frame = pd.DataFrame({"person": list("pqr"), "target": "gm", "center": [1, 1, 2]})
    frame = frame.assign(dV_soft_ml=[1.0, 2.0, NAN], dV_hard_ml=0.0)
    plot_volume_bias({"x": volume_bias_table(frame, "center")}, path)
    saved_figure.assert_readable(path)
    assert dots(saved_figure.figure.axes[0])[0][0] == [1.5, 0]
    assert "2\nn = 0 to 1\n1 left out" in saved_figure.texts


def test_axes_of_volume_differences_state_their_sign(path, saved_figure):
    plot_bland_altman({"a": (np.array([2.0, 3.0]), np.array([1.0, 1.5]))}, path)
    assert any("(> 0: over-segmentation)" in text for text in saved_figure.texts)
    frame = pd.DataFrame({"person": ["a", "b"], "target": "gm", "dV_soft_ml": 1.0, "dV_hard_ml": 2})
    plot_volume_bias({"x": volume_bias_table(frame)}, path)
    assert any("(> 0: over-segmentation;" in text for text in saved_figure.texts)
