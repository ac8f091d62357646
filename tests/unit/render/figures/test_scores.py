"""The figure of every subject's score."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from softseg.render.figures import scores
from tests.support.figures import ODD, TEN

pytestmark = pytest.mark.filterwarnings("error")
NAN = float("nan")


def test_a_dot_a_subject_around_its_row_a_box_and_the_median(tmp_path, saved_figure):
    path = tmp_path / "s.png"
    values = [70.0, 90.0, NAN, 80.0, 60.0, 95.0]
    scores.draw({"a": np.array([50.0]), "b": np.array(values)}, path)
    saved_figure.assert_readable(path)
    [axes] = saved_figure.figure.axes
    assert axes.get_xlim()[0] < 50 - 1  # no dot on the edge
    kept = [value for value in values if value == value]
    dots = axes.collections[-1].get_offsets()
    assert dots[:, 0].tolist() == kept
    assert np.all(np.abs(dots[:, 1] - 1) < 0.3)  # none reaches another candidate's row
    box = axes.containers[1][0]
    low, _, high = statistics.quantiles(kept, n=4, method="inclusive")
    assert [box.get_x(), box.get_x() + box.get_width()] == pytest.approx([low, high])
    assert {"median 80.0\nn = 5 of 6", "median 50.0\nn = 1", "a", "b"} <= set(saved_figure.texts)


def test_the_dots_are_spread_and_every_time_the_same():
    found = scores.spread(40)
    assert np.abs(found).max() < 0.5
    assert np.diff(np.sort(found)).min() > 0.005
    np.testing.assert_array_equal(found[:7], scores.spread(7))


def test_candidates_without_a_value_are_counted_out(tmp_path, saved_figure):
    path = tmp_path / "s.png"
    few = {ODD[0]: np.array([NAN, NAN]), ODD[1]: np.array([]), ODD[2]: np.full(3, 7.0)}
    scores.draw(few, path, label="AVD [%]")
    saved_figure.assert_readable(path)
    assert {"n = 0 of 2", "n = 0"} <= set(saved_figure.texts)
    assert any(word.startswith("AVD [%]") for word in saved_figure.texts)


def test_nothing_is_cut_off_or_covered(tmp_path, saved_figure):
    path = tmp_path / "s.png"
    scores.draw({name: np.linspace(-1500, 70, 40) for name in TEN}, path, label="RVD [%]")
    saved_figure.assert_readable(path)
    low, high = saved_figure.figure.axes[0].get_xlim()
    assert low < -1500 < 70 < high
