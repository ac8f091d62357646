"""The figure of predicted against true volumes."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from softseg.render.figures import bland_altman
from softseg.render.figures.bland_altman import agreement, pairs
from tests.support.figures import ODD, TEN

pytestmark = pytest.mark.filterwarnings("error")
NAN = float("nan")
# Bland and Altman 1986, table 1: peak flow [l/min] of 17 subjects, large and mini meter
LARGE = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_bias_and_limits_are_those_that_bland_and_altman_published():
    _, difference = pairs(np.array(LARGE), np.array(MINI))
    found = agreement(difference)
    # they print -2.1, SD 38.8, and with 2 SD for 1.96 limits of -79.7 and 75.5
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert found.high - found.bias == pytest.approx(1.96 * 38.8, abs=0.1)
    assert found.bias - found.low == pytest.approx(found.high - found.bias)


def test_the_difference_is_predicted_minus_true_over_their_mean():
    mean, difference = pairs(np.array([3.0, 1.0, NAN, 9.0]), np.array([1.0, 2.0, 5.0, NAN]))
    assert mean.tolist() == [2, 1.5]
    assert difference.tolist() == [2, -1]


def test_the_spread_is_that_of_a_sample_and_unknown_for_one_subject():
    values = [0.1, 0.5, -0.2]
    found = agreement(np.array(values))
    assert found.high == pytest.approx(statistics.mean(values) + 1.96 * statistics.stdev(values))
    alone = agreement(np.array([0.5]))
    assert alone.bias == 0.5
    assert np.isnan([alone.low, alone.high]).all()
    assert np.isnan(agreement(np.array([])).bias)


def test_the_numbers_are_written_and_the_lines_drawn(tmp_path, saved_figure):
    path = tmp_path / "b.png"
    bland_altman.draw({"a": (np.array(LARGE), np.array(MINI))}, path, unit="l/min")
    saved_figure.assert_readable(path)
    [axes] = saved_figure.figure.axes
    minus = "\N{MINUS SIGN}"
    assert axes.get_title() == f"a\nbias {minus}2.1 l/min\nlimits {minus}78.1 to +73.9 l/min"
    heights = sorted(line.get_ydata()[0] for line in axes.lines)
    assert heights == pytest.approx([-78.1, -2.1, 0, 73.9], abs=0.1)
    assert len(axes.collections[0].get_offsets()) == 17
    assert any("[l/min]" in word for word in saved_figure.texts)


def test_no_volume_one_volume_and_no_difference(tmp_path, saved_figure):
    path = tmp_path / "b.png"
    few = {
        ODD[0]: (np.array([NAN]), np.array([1.0])),
        ODD[1]: (np.array([1.0]), np.array([2.0])),
        ODD[2]: (np.zeros(3), np.zeros(3)),
    }
    bland_altman.draw(few, path)
    saved_figure.assert_readable(path)
    none, one, _ = (axes.get_title() for axes in saved_figure.figure.axes)
    assert "no volumes" in none
    assert "limits undefined" in one


def test_nothing_is_cut_off_or_covered(tmp_path, saved_figure):
    path = tmp_path / "b.png"
    volumes = np.linspace(1, 3000, 40)
    bland_altman.draw(dict.fromkeys(TEN[4:8], (1.2 * volumes + 300, volumes)), path)
    saved_figure.assert_readable(path)
    assert len({axes.get_ylim() for axes in saved_figure.figure.axes}) == 1
