"""The figure of the bias of volumes by center."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from softseg.metrics.volume_bias import volume_bias_table
from softseg.render.figures import volume_bias
from tests.support.figures import ODD, PAPER, TEN

pytestmark = pytest.mark.filterwarnings("error")
NAN = float("nan")
COLUMNS = ["group", "volume", "n", "left_out", "bias_ml", "low_ml", "high_ml"]


def table(*rows):
    return pd.DataFrame(rows, columns=COLUMNS)


def dots(axes):
    return [one.get_xydata().tolist() for one in axes.lines if one.get_marker() == "o"]


def test_a_dot_a_center_its_interval_and_the_line_of_no_bias(tmp_path, saved_figure):
    path = tmp_path / "v.png"
    one = table(
        ("b", "soft", 5, 0, 1.5, 1.0, 2.5),
        ("b", "hard", 5, 0, -3.0, -4.0, -2.0),
        ("a", "soft", 1, 2, 0.5, NAN, NAN),
        ("a", "hard", 3, 0, 0.0, -1.0, 1.0),
    )
    volume_bias.draw({"x": one}, path)
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


def test_candidates_lie_apart_within_their_center_though_one_lacks_it(tmp_path, saved_figure):
    path = tmp_path / "v.png"
    every = table(*((c, v, 2, 0, 1.0, 0.0, 2.0) for c in "ab" for v in ("soft", "hard")))
    tables = dict.fromkeys(PAPER, every) | {"late": every[every["group"] == "b"]}
    volume_bias.draw(tables, path)
    saved_figure.assert_readable(path)
    heights = np.array([[y for _, y in one] for one in dots(saved_figure.figure.axes[0])])
    assert len(np.unique(heights)) == heights.size == 12
    assert (np.abs(heights - [0, 1]) < 0.5).all()
    missing = [one[0][0] for one in dots(saved_figure.figure.axes[0])]
    assert np.isnan(missing).tolist() == [False] * 5 + [True]


def test_without_a_volume_the_panel_says_so(tmp_path, saved_figure):
    path = tmp_path / "v.png"
    rows = [("a", volume, 0, 3, NAN, NAN, NAN) for volume in ("soft", "hard")]
    volume_bias.draw({ODD[1]: table(*rows)}, path)
    saved_figure.assert_readable(path)
    assert saved_figure.texts.count("no volume") == 2


@pytest.mark.parametrize(("names", "centers"), [(TEN, 3), (PAPER, 12), (["a"], 1)])
def test_nothing_is_cut_off_or_covered(tmp_path, saved_figure, names, centers):
    path = tmp_path / "v.png"
    rows = [
        (f"a_center_of_a_long_name_{k}", volume, 12, 3, 1000.0 * k, -3000.0, 2000.0 * k)
        for k in range(centers)
        for volume in ("soft", "hard")
    ]
    volume_bias.draw(dict.fromkeys(names, table(*rows)), path)
    saved_figure.assert_readable(path)


def test_it_draws_what_the_table_of_subjects_gives(tmp_path, saved_figure):
    path = tmp_path / "v.png"
    frame = pd.DataFrame({"person": list("pqr"), "target": "gm", "center": [1, 1, 2]})
    frame = frame.assign(dV_soft_ml=[1.0, 2.0, NAN], dV_hard_ml=0.0)
    volume_bias.draw({"x": volume_bias_table(frame, "center")}, path)
    saved_figure.assert_readable(path)
    assert dots(saved_figure.figure.axes[0])[0][0] == [1.5, 0]
    assert "2\nn = 0 to 1\n1 left out" in saved_figure.texts


def test_candidates_of_one_color_have_marks_of_their_own(tmp_path, saved_figure):
    path = tmp_path / "v.png"
    rows = [("all", volume, 9, 0, 1.0, 0.0, 2.0) for volume in ("soft", "hard")]
    volume_bias.draw({f"c{k}": table(*rows) for k in range(23)}, path)
    saved_figure.assert_readable(path)
    looks = {
        (d.get_color(), d.get_marker())
        for d in saved_figure.figure.axes[0].lines
        if d.get_label()[0] == "c"
    }
    assert len(looks) == 23
