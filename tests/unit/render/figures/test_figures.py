"""Every figure is readable: for 1, 2 and 12 candidates, odd names, NaN and missing data."""

from __future__ import annotations

import re

import numpy as np
import pytest

from softseg.render.figures.calibration import UncertaintyCurves, plot_uncertainty
from softseg.render.figures.learning import plot_timing
from softseg.render.figures.predictions import Example, plot_examples, plot_progression
from softseg.render.figures.style import colors
from tests.support.figure_data import (
    BINS,
    FIGURES,
    NO_BINS,
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
from tests.support.figures import ODD, PAPER, TEN, TWELVE, slice_axes

pytestmark = pytest.mark.filterwarnings("error")
NAN = float("nan")
NAMES = {"one": ODD[:1], "two": TEN[4:6], "odd": ODD, "paper": PAPER, "twelve": TWELVE}
READABLE = [
    (figure, count)
    for figure in FIGURES
    for count in NAMES
    if figure != "uncertainty" or count in ("one", "two")  # its rows are targets: few
]


@pytest.mark.parametrize(("figure", "count"), READABLE)
def test_no_text_is_cut_off_or_covered(tmp_path, saved_figure, figure, count):
    path = tmp_path / "new" / "figure.png"
    plot(figure, NAMES[count], path)
    saved_figure.assert_readable(path)


def plot_missing_examples(path):
    nothing = np.zeros((30, 20))
    dice = {ODD[0]: NAN, ODD[1]: 100.0}
    masks = dict.fromkeys(ODD, nothing)
    title = "median: sub-amsterdam0001_acq-axial_run-01, the second scan"
    subject = Example(title, nothing + 3, nothing, masks, masks, (0.5, 1.0), dice)
    plot_examples([subject] * 3, path)


def plot_missing_progression(path):
    nothing = np.zeros((9, 12))
    candidates = {ODD[0]: {1: nothing, 2: nothing}, ODD[1]: {}, ODD[2]: {3: nothing * NAN}}
    plot_progression(candidates, nothing + 4, nothing, path)


def plot_missing_learning(path):
    odd = history([1.0, np.inf, 3.0], [NAN, NAN, NAN], [NAN, NAN, NAN])
    plot_learning_curves({ODD[0]: [odd], ODD[1]: [], ODD[2]: [history([2.0])]}, path)


def plot_missing_thresholds(path):
    runs = [{0.1: 70.0, 0.3: 90.0, 0.5: 80.0}, {0.1: 60.0, 0.3: 70.0, 0.5: 76.0}]
    plot_thresholds({ODD[0]: [], ODD[1]: [{0.1: NAN}, {0.1: NAN}], ODD[2]: runs}, path)


MISSING = {
    "bland_altman": lambda path: plot_bland_altman(
        {
            ODD[0]: (np.array([NAN]), np.array([1.0])),
            ODD[1]: (np.array([1.0]), np.array([2.0])),
            ODD[2]: (np.zeros(3), np.zeros(3)),
        },
        path,
    ),
    "by_center": lambda path: plot_by_center(
        {ODD[0]: intervals((0.5, NAN, NAN, NAN), (0.3, 80, NAN, NAN))}, path
    ),
    "by_resolution": lambda path: plot_by_resolution(
        {
            ODD[0]: intervals((0.5, NAN, NAN, NAN), (0.3, 80, NAN, NAN)),
            ODD[1]: intervals((NAN, 80, 70, 90), (0.3, 50, 40, 60)),
        },
        path,
    ),
    "density": lambda path: plot_density(
        {ODD[0]: np.zeros((4, 4)), ODD[1]: np.full(3, 0.25), ODD[2]: beta(2, 2)}, path
    ),
    "examples": plot_missing_examples,
    "examples of one candidate": lambda path: plot_examples(
        [example(["a", "b"]), example(["b"])], path
    ),
    "learning": plot_missing_learning,
    "progression": plot_missing_progression,
    "reliability": lambda path: plot_reliability(
        {ODD[0]: NO_BINS, ODD[1]: BINS, ODD[2]: NO_BINS}, path
    ),
    "reliability of one candidate": lambda path: plot_reliability({"a": NO_BINS}, path),
    "scores": lambda path: plot_scores(
        {ODD[0]: np.array([NAN, NAN]), ODD[1]: np.array([]), ODD[2]: np.full(3, 7.0)},
        path,
    ),
    "thresholds": plot_missing_thresholds,
    "timing": lambda path: plot_timing({ODD[0]: {}, ODD[1]: {"a": NAN, "b": 0.0}}, path),
    "uncertainty": lambda path: plot_uncertainty(
        {"gm": UncertaintyCurves({}, None, {"without": NO_BINS, "with": NO_BINS})}, path
    ),
    "volume_bias": lambda path: plot_volume_bias(
        {ODD[1]: bias_table(*(("a", v, 0, 3, NAN, NAN, NAN) for v in ("soft", "hard")))}, path
    ),
}
# patterns of whole texts, and how many of them the figure has
MESSAGES = {
    "bland_altman": {".*no volumes.*": 1, ".*limits undefined.*": 1},
    "by_center": {r"Dice \[%\].*": 1},
    "by_resolution": {r"Dice \[%\]": 1},
    "density": {
        ".*no value above 0.*": 1,
        ".*_one_without.*every value is 0.25.*": 1,
        r"\\\$a\\\$": 1,
    },
    "examples": {"no Dice": 3, "Dice 100.0 %": 3},
    "examples of one candidate": {"Dice 87.2 %": 3},
    "learning": {"no values": 5},
    "progression": {"nothing\npredicted": 1},
    "reliability": {".*no voxel.*": 2, ".*_one_without.*": 1},
    "reliability of one candidate": {"a\nno voxel": 1},
    "scores": {"n = 0 of 2": 1, "n = 0": 1, r"Dice \[%\].*": 1},
    "thresholds": {"no run": 1, "Dice undefined": 1},
    "timing": {"0.00 s": 2},
    "uncertainty": {"no truth in these scans": 1, r"mean of samples \(no voxel\)": 1},
    "volume_bias": {"no volume": 2},
}


@pytest.mark.parametrize("figure", MISSING)
def test_missing_data_is_named_in_a_readable_figure(tmp_path, saved_figure, figure):
    path = tmp_path / "figure.png"
    MISSING[figure](path)
    saved_figure.assert_readable(path)
    counts = {
        pattern: sum(bool(re.fullmatch(pattern, text, re.DOTALL)) for text in saved_figure.texts)
        for pattern in MESSAGES[figure]
    }
    assert counts == MESSAGES[figure]


def test_empty_bins_take_no_room(tmp_path, saved_figure):
    MISSING["reliability"](tmp_path / "r.png")
    upper, lower = (axes.get_position().height for axes in saved_figure.figure.axes)
    assert upper > 2 * lower > 0.2


def test_undefined_losses_are_left_out_of_the_lines(tmp_path, saved_figure):
    MISSING["learning"](tmp_path / "l.png")
    assert saved_figure.figure.axes[0].lines[0].get_xydata().tolist() == [[1, 1], [3, 3]]
    assert saved_figure.figure.axes[6].lines[0].get_marker() == "o"  # one epoch is visible


def test_a_candidate_without_a_prediction_has_no_cell(tmp_path, saved_figure):
    MISSING["examples of one candidate"](tmp_path / "e.png")
    assert len(slice_axes(saved_figure.figure)) == 6 + 4


def dashes(line):
    return line.get_color(), str(line._unscaled_dash_pattern)


def marker(line):
    return line.get_color(), line.get_marker()


@pytest.mark.parametrize(
    ("draw", "value", "look"),
    [
        (plot_density, beta(2, 5), dashes),
        (plot_reliability, BINS, marker),
        (plot_by_center, intervals((0.5, 80, 70, 90)), marker),
        (plot_by_resolution, intervals((0.5, 80, 70, 90), (0.3, 8, 7, 9)), marker),
        (
            plot_volume_bias,
            bias_table(*(("all", v, 9, 0, 1.0, 0.0, 2.0) for v in ("soft", "hard"))),
            marker,
        ),
    ],
)
def test_candidates_of_the_same_color_differ_in_dash_or_marker(
    tmp_path, saved_figure, draw, value, look
):
    path = tmp_path / "figure.png"
    draw({f"c{k}": value for k in range(23)}, path)
    saved_figure.assert_readable(path)
    lines = [line for line in saved_figure.figure.axes[0].lines if line.get_label()[0] == "c"]
    assert len({look(line) for line in lines}) == 23


@pytest.mark.parametrize("names", [TEN[:1], TEN])
def test_ten_candidates_have_colors_of_their_own(tmp_path, saved_figure, names):
    plot("density", names, tmp_path / "d.png")
    lines = saved_figure.figure.axes[0].lines
    assert len({line.get_color() for line in lines}) == len(names)


def test_a_candidate_has_the_color_that_is_passed(tmp_path, saved_figure):
    passed = colors(PAPER)
    runs = [{0.1: 70.0, 0.3: 90.0, 0.5: 80.0}]
    plot_thresholds({PAPER[3]: runs}, tmp_path / "t.png", passed)
    assert saved_figure.figure.axes[0].lines[0].get_color() == passed[PAPER[3]]
