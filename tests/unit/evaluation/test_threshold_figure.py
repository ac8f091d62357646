"""The figure of Dice against threshold."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import figure
from PIL import Image

from softseg.evaluation.threshold_figure import draw_threshold_curves
from softseg.runs.thresholds import Threshold

GM = Threshold(0.3, {"0.10": 70.0, "0.30": 90.0, "0.50": 85.0})
WM = Threshold(0.5, {"0.10": 40.0, "0.30": 50.0, "0.50": 55.5})


def test_a_png_that_opens_in_a_folder_made_for_it(tmp_path):
    path = tmp_path / "figures" / "threshold.png"
    draw_threshold_curves({"gm": GM}, path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert min(image.size) > 400
        assert np.asarray(image.convert("L")).std() > 5
    assert list(path.parent.iterdir()) == [path]
    draw_threshold_curves({"gm": WM}, path)  # a search done again replaces it


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved."""
    seen = []
    save = figure.Figure.savefig

    def keep(self, *args, **kwargs):
        seen.append(self)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(figure.Figure, "savefig", keep)
    return seen


def test_a_curve_and_a_dot_at_the_best_threshold_for_each_target(tmp_path, drawn):
    draw_threshold_curves({"gm": GM, "wm": WM}, tmp_path / "threshold.png")
    [axes] = drawn[0].axes
    curve, best, _, other = axes.lines
    np.testing.assert_array_equal(curve.get_xydata(), [[0.1, 70], [0.3, 90], [0.5, 85]])
    assert best.get_xydata().tolist() == [[0.3, 90]]
    assert other.get_xydata().tolist() == [[0.5, 55.5]]
    assert best.get_color() == curve.get_color()
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert named == ["gm: 90.0 % at 0.30", "wm: 55.5 % at 0.50"]
    assert axes.get_ylabel() == "mean Dice [%]"
