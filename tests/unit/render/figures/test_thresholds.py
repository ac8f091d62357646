"""The figure of Dice against threshold over runs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from softseg.render.figures import thresholds
from softseg.render.figures.style import colors
from tests.support.figures import ODD, PAPER, TEN

pytestmark = pytest.mark.filterwarnings("error")
NAN = float("nan")
RUNS = [{0.1: 70.0, 0.3: 90.0, 0.5: 80.0}, {0.1: 60.0, 0.3: 70.0, 0.5: 76.0}]


def test_the_best_threshold_of_equals_is_the_largest():
    assert thresholds.best({0.5: 80.0, 0.7: 80.0, 0.6: 80.0, 0.1: 3.0}) == (0.7, 80.0)
    assert thresholds.best({0.9: NAN, 0.2: 1.0, 0.1: NAN}) == (0.2, 1.0)
    assert thresholds.best({0.9: NAN}) is None
    assert thresholds.best({}) is None


def test_mean_and_range_at_each_threshold_leave_out_what_is_undefined():
    table = thresholds.summary([*RUNS, {0.3: NAN, 0.1: 20.0}])
    assert table.loc[0.1].tolist() == [50, 20, 70]
    assert table.loc[0.3].tolist() == [80, 70, 90]
    assert table.index.tolist() == [0.1, 0.3, 0.5]


def test_a_panel_shows_mean_range_and_each_runs_best(tmp_path, saved_figure):
    thresholds.draw({"a": [RUNS[0]], "b": RUNS}, tmp_path / "t.png")
    first, second = saved_figure.figure.axes
    np.testing.assert_array_equal(second.lines[0].get_xydata(), [[0.1, 65], [0.3, 80], [0.5, 78]])
    band, dots = second.collections
    assert {60, 70, 76, 90} <= set(band.get_paths()[0].vertices[:, 1])
    assert dots.get_offsets().tolist() == [[0.3, 90], [0.5, 76]]
    [dot] = first.collections  # one run has no band
    assert dot.get_offsets().tolist() == [[0.3, 90]]
    assert first.get_ylim() == second.get_ylim()
    assert [axes.lines[0].get_color() for axes in (first, second)] == list(
        colors(["a", "b"]).values()
    )


def test_a_candidate_keeps_the_color_it_is_given(tmp_path, saved_figure):
    wanted = colors(PAPER)
    thresholds.draw({PAPER[3]: RUNS}, tmp_path / "t.png", color=wanted)
    assert saved_figure.figure.axes[0].lines[0].get_color() == wanted[PAPER[3]]


def test_runs_without_a_dice_are_said_to_have_none(tmp_path, saved_figure):
    path = tmp_path / "t.png"
    thresholds.draw({ODD[0]: [], ODD[1]: [{0.1: NAN}, {0.1: NAN}], ODD[2]: RUNS}, path)
    saved_figure.assert_readable(path)
    assert {"no run", "Dice undefined"} <= set(saved_figure.texts)


@pytest.mark.parametrize("names", [TEN[5:6], TEN[2:8]])
def test_nothing_is_cut_off_or_covered(tmp_path, saved_figure, names):
    path = tmp_path / "new" / "t.png"
    curve = {k / 20: 80 - 30 * math.fabs(k / 20 - 0.4) for k in range(1, 20)}
    thresholds.draw({name: [curve] for name in names}, path)
    saved_figure.assert_readable(path)
    assert {"threshold", "Dice [%]"} <= set(saved_figure.texts)
