"""The reliability diagram."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from softseg.metrics.calibration import ReliabilityBins
from softseg.render.figures import reliability
from tests.support.figures import ODD, PAPER, TEN

pytestmark = pytest.mark.filterwarnings("error")
COUNT = np.array([1000, 0, 1, 50])
BINS = ReliabilityBins(COUNT, np.array([100.0, 0, 0.6, 45]), np.array([50.0, 0, 1.0, 45]))
NONE = ReliabilityBins(np.zeros(4, np.int64), np.zeros(4), np.zeros(4))


def test_a_dot_a_bin_with_voxels_the_diagonal_and_a_bar_of_the_count(tmp_path, saved_figure):
    path = tmp_path / "r.png"
    reliability.draw({"a": BINS}, path)
    saved_figure.assert_readable(path)
    upper, lower = saved_figure.figure.axes
    [dots] = [one for one in upper.lines if one.get_marker() == "o"]
    assert np.allclose(dots.get_xydata(), [[0.1, 0.05], [0.6, 1], [0.9, 0.9]])
    assert any(np.array_equal(one.get_xydata(), [[0, 0], [1, 1]]) for one in upper.lines)
    assert [bar.get_height() for bar in lower.patches] == [1000, 1, 50]
    middles = [bar.get_x() + bar.get_width() / 2 for bar in lower.patches]
    assert middles == pytest.approx([0.125, 0.625, 0.875])
    assert lower.get_yscale() == "log"
    assert lower.get_ylim()[0] < 1  # a single voxel is seen
    assert "a\nECE 0.048" in saved_figure.texts  # (50 + 0 + 0.4 + 0) / 1051


def test_bars_of_candidates_are_next_to_each_other_within_their_bin(tmp_path, saved_figure):
    path = tmp_path / "r.png"
    reliability.draw(dict.fromkeys(PAPER, BINS), path)
    saved_figure.assert_readable(path)
    edges = sorted(
        (bar.get_x(), bar.get_x() + bar.get_width()) for bar in saved_figure.figure.axes[1].patches
    )
    assert all(a[1] <= b[0] + 1e-9 for a, b in pairwise(edges))
    assert all(int(low * 4) == int(high * 4) for low, high in edges)


def test_a_candidate_without_a_voxel_is_said_to_have_none(tmp_path, saved_figure):
    path = tmp_path / "r.png"
    reliability.draw({ODD[0]: NONE, ODD[1]: BINS, ODD[2]: NONE}, path)
    saved_figure.assert_readable(path)
    upper, lower = (axes.get_position().height for axes in saved_figure.figure.axes)
    assert upper > 2 * lower > 0.2  # the empty bins take no room
    assert sum("no voxel" in word for word in saved_figure.texts) == 2
    assert any("_one_without" in word for word in saved_figure.texts)
    reliability.draw({"a": NONE}, path)
    saved_figure.assert_readable(path)


@pytest.mark.parametrize("names", [TEN[:1], TEN])
def test_nothing_is_cut_off_or_covered(tmp_path, saved_figure, names):
    path = tmp_path / "r.png"
    many = ReliabilityBins(10 ** np.arange(10), 10.0 ** np.arange(10), 10.0 ** np.arange(10))
    reliability.draw(dict.fromkeys(names, many), path)
    saved_figure.assert_readable(path)
    assert sum("ECE" in word for word in saved_figure.texts) == len(names)


def test_candidates_of_one_color_have_marks_of_their_own(tmp_path, saved_figure):
    path = tmp_path / "r.png"
    reliability.draw({f"c{k}": BINS for k in range(23)}, path)
    saved_figure.assert_readable(path)
    lines = [one for one in saved_figure.figure.axes[0].lines if one.get_marker() != "None"]
    assert len({(one.get_color(), one.get_marker()) for one in lines}) == 23
