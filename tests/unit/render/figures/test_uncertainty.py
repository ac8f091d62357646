"""Error against retained voxels, and calibration with and without samples."""

from __future__ import annotations

import numpy as np
import pytest

from softseg.metrics.calibration import ReliabilityBins
from softseg.render.figures.uncertainty import Shown, draw

pytestmark = pytest.mark.filterwarnings("error")
SHARE = np.arange(1, 21) / 20
BINS = ReliabilityBins(
    np.array([1000, 0, 1, 50]), np.array([100.0, 0, 0.6, 45]), np.array([50.0, 0, 1.0, 45])
)
NONE = ReliabilityBins(np.zeros(4, np.int64), np.zeros(4), np.zeros(4))
ERRORS = {"without": 8 * SHARE**2, "entropy": 8 * SHARE**4, "mutualinfo": 8 * SHARE}
IDEAL = 100 * np.maximum(0, 0.08 - (1 - SHARE)) / SHARE
SHOWN = Shown(ERRORS, IDEAL, {"without": BINS, "with": BINS})


def test_a_line_for_each_measure_of_uncertainty_and_what_it_is_held_against(tmp_path, saved_figure):
    path = tmp_path / "u.png"
    draw({"gm": SHOWN}, path)
    saved_figure.assert_readable(path)
    left, right = saved_figure.figure.axes
    lines = [line.get_xydata() for line in left.lines]
    for error in (*ERRORS.values(), IDEAL):
        assert any(len(one) == 20 and np.allclose(one[:, 1], error) for one in lines)
    assert left.get_xlim() == (0, 100)
    assert f"by mutual information (mean {ERRORS['mutualinfo'].mean():.2f})" in saved_figure.texts
    assert any(line.get_linestyle() == ":" for line in left.lines)
    dots = [line for line in right.lines if line.get_marker() == "o"]
    assert len(dots) == 2
    assert np.allclose(dots[0].get_xydata(), [[0.1, 0.05], [0.6, 1], [0.9, 0.9]])
    assert "one pass (ECE 0.048)" in saved_figure.texts


def test_each_target_has_its_row_with_its_name(tmp_path, saved_figure):
    path = tmp_path / "u.png"
    draw({"gm": SHOWN, "a_rather_long_name_of_white_matter_lesions": SHOWN}, path)
    saved_figure.assert_readable(path)
    assert len(saved_figure.figure.axes) == 4
    assert any("gm: calibration" in word for word in saved_figure.texts)


def test_scans_without_any_truth_say_so(tmp_path, saved_figure):
    path = tmp_path / "u.png"
    draw({"gm": Shown({}, None, {"without": NONE, "with": NONE})}, path)
    saved_figure.assert_readable(path)
    assert "no truth in these scans" in saved_figure.texts
    assert "mean of samples (no voxel)" in saved_figure.texts
