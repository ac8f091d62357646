"""The figure of where the time went."""

from __future__ import annotations

import pytest
from matplotlib.colors import to_hex

from softseg.render.figures import timing
from softseg.render.figures.style import colors
from tests.support.figures import ODD, TEN

pytestmark = pytest.mark.filterwarnings("error")
STAGES = {"training": 5400.0, "validation": 900.0, "threshold search": 540.0, "scoring": 360.0}


@pytest.mark.parametrize(
    ("longest", "unit"),
    [(90, "s"), (119, "s"), (300, "min"), (7100, "min"), (7300, "h"), (1e6, "h")],
)
def test_the_unit_suits_the_longest_candidate(longest, unit):
    divisor, found = timing.scale([1.0, longest])
    assert found == unit
    assert divisor == {"s": 1, "min": 60, "h": 3600}[unit]


def test_stages_are_stacked_and_the_total_is_written(tmp_path, saved_figure):
    path = tmp_path / "t.png"
    timing.draw({"a": STAGES, "b": {"validation": 1800.0, "other": 18.0}}, path)
    saved_figure.assert_readable(path)
    parts = [[bar.get_x() for bar in group] for group in saved_figure.figure.axes[0].containers]
    assert [left[0] for left in parts] == pytest.approx([0, 1.5, 1.75, 1.9, 2.0])
    ends = [
        [bar.get_x() + bar.get_width() for bar in group]
        for group in saved_figure.figure.axes[0].containers
    ]
    assert ends[-1] == pytest.approx([2, 0.505])
    assert {"2.00 h", "0.51 h", "time [h]", *STAGES, "other"} <= set(saved_figure.texts)


def test_the_stages_are_not_in_the_colors_of_candidates(tmp_path, saved_figure):
    timing.draw({"a": STAGES}, tmp_path / "t.png")
    shades = {to_hex(group[0].get_facecolor()) for group in saved_figure.figure.axes[0].containers}
    assert len(shades) == len(STAGES)
    assert not shades & set(colors(TEN).values())


def test_time_that_is_unknown_or_none(tmp_path, saved_figure):
    path = tmp_path / "t.png"
    timing.draw({ODD[0]: {}, ODD[1]: {"a": float("nan"), "b": 0.0}}, path)
    saved_figure.assert_readable(path)
    assert saved_figure.texts.count("0.00 s") == 2


def test_nothing_is_cut_off_or_covered(tmp_path, saved_figure):
    path = tmp_path / "t.png"
    timing.draw(dict.fromkeys(TEN, STAGES), path)
    saved_figure.assert_readable(path)
    assert saved_figure.figure.axes[0].get_xlim()[1] > 2.1  # the totals, too, are within the axes
