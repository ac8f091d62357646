"""The figure of how predictions grow over the epochs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softseg.render.figures import progression
from softseg.render.figures.progression import chosen
from tests.support.figures import ODD, TEN

pytestmark = pytest.mark.filterwarnings("error")
SOFT = np.zeros((20, 16))
SOFT[8:12, 6:9] = 0.8
IMAGE = SOFT + np.arange(16) / 30


def rows(*epochs):
    return [dict.fromkeys(one, SOFT) for one in epochs]


def test_all_epochs_are_shown_if_they_are_few():
    assert chosen(rows([1, 2, 5], [1, 3])) == [1, 2]
    assert chosen(rows([1, 3, 9], [1, 3, 7, 12])) == [1, 3, 7]
    assert chosen(rows([4])) == []
    assert chosen(rows([])) == []


def test_many_epochs_are_thinned_evenly():
    assert chosen(rows(range(1, 13))) == [1, 3, 5, 7, 9, 11]


@given(st.lists(st.sets(st.integers(1, 300), max_size=80), max_size=4))
def test_the_first_and_the_latest_epochs_are_among_at_most_six(epochs):
    found = chosen(rows(*epochs))
    shared = sorted({epoch for one in epochs for epoch in one if epoch != max(one)})
    assert found == sorted(set(found))
    assert set(found) <= set(shared)
    assert len(found) == min(6, len(shared))
    assert found[:1] == shared[:1]
    assert found[-1:] == shared[-1:]


def test_each_row_ends_with_its_own_last_epoch(tmp_path, saved_figure):
    path = tmp_path / "p.png"
    long, short = dict.fromkeys([1, 20, 40, 50], SOFT), dict.fromkeys([1, 20], SOFT)
    progression.draw({"a": long, "b": short}, IMAGE, SOFT, path)
    saved_figure.assert_readable(path)
    assert {"epoch 1", "20", "40", "last", "epoch\n50", "epoch\n20"} <= set(saved_figure.texts)
    cells = [axes for axes in saved_figure.figure.axes if axes.get_facecolor()[:3] == (0, 0, 0)]
    assert len(cells) == 2 + 4 + 2  # image and truth, four of one, two of the other
    assert any("training had ended" in word for word in saved_figure.texts)


def test_epochs_that_all_have_leave_no_gap_to_explain(tmp_path, saved_figure):
    progression.draw({"a": dict.fromkeys([1, 2], SOFT)}, IMAGE, SOFT, tmp_path / "p.png")
    assert not any("no cell" in word for word in saved_figure.texts)


def test_nothing_predicted_and_nothing_to_see(tmp_path, saved_figure):
    path = tmp_path / "p.png"
    nothing = np.zeros((9, 12))
    candidates = {ODD[0]: {1: nothing, 2: nothing}, ODD[1]: {}, ODD[2]: {3: nothing * np.nan}}
    progression.draw(candidates, nothing + 4, nothing, path, pixel_mm=(0.5, 2.0))
    saved_figure.assert_readable(path)
    assert "nothing\npredicted" in saved_figure.texts


def test_nothing_is_cut_off_or_covered(tmp_path, saved_figure):
    path = tmp_path / "p.png"
    epochs = dict.fromkeys(range(1, 160, 9), SOFT)
    progression.draw(
        dict.fromkeys([TEN[5], "WING-WITH-CAPITALS-AND-MORE"], epochs), IMAGE, SOFT, path
    )
    saved_figure.assert_readable(path)
