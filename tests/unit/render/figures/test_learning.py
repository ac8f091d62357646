"""The figure of learning curves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from softseg.render.figures import learning
from tests.support.figures import ODD, TEN

pytestmark = pytest.mark.filterwarnings("error")
NAN = float("nan")


def history(train, val=None, dice=None):
    rows = range(1, len(train) + 1)
    columns = {
        "train_loss": train,
        "val_loss": val or train,
        "val_dice": dice or [50.0] * len(train),
    }
    return pd.DataFrame({"epoch": rows, **columns, "learning_rate": 0.001})


def test_the_median_ends_where_less_than_half_of_the_runs_are_left():
    lengths = {9: 1.0, 4: 2.0, 3: 9.0, 2: 4.0}
    runs = [pd.Series([value] * n, index=range(1, n + 1)) for n, value in lengths.items()]
    found = learning.median(runs)
    assert found.to_dict() == {1: 3.0, 2: 3.0, 3: 2.0, 4: 1.5}


def test_the_axis_is_logarithmic_only_where_that_reads_better():
    assert learning.needs_log(pd.Series([0.1, 1.1]))
    assert not learning.needs_log(pd.Series([0.1, 0.9]))
    assert not learning.needs_log(pd.Series([-1.0, 100.0]))
    assert not learning.needs_log(pd.Series([0.0, 100.0]))
    assert not learning.needs_log(pd.Series([], dtype=float))


def test_a_row_a_candidate_with_its_runs_and_their_median(tmp_path, saved_figure):
    path = tmp_path / "l.png"
    runs = [history([400.0, 10.0], [500.0, 40.0]), history([200.0, 20.0], [300.0, 20.0])]
    learning.draw({"a": runs, "b": [history([0.5, 0.3], dice=[20.0, 30.0])]}, path)
    saved_figure.assert_readable(path)
    train, val, dice, *second = saved_figure.figure.axes
    assert [line.get_ydata().tolist() for line in train.lines] == [[400, 10], [200, 20], [300, 15]]
    assert val.lines[-1].get_ydata().tolist() == [400, 30]
    assert train.get_yscale() == val.get_yscale() == "log"
    assert train.get_ylim() == val.get_ylim() != second[0].get_ylim()
    assert second[0].get_yscale() == "linear"
    assert dice.get_ylim() == second[2].get_ylim()
    assert len(second[0].lines) == 1  # a run alone is its own median
    assert {"training loss", "validation loss", "validation Dice [%]", "a", "b"} <= set(
        saved_figure.texts
    )


def test_what_is_undefined_is_left_out(tmp_path, saved_figure):
    path = tmp_path / "l.png"
    odd = history([1.0, np.inf, 3.0], [NAN, NAN, NAN], [NAN, NAN, NAN])
    learning.draw({ODD[0]: [odd], ODD[1]: [], ODD[2]: [history([2.0])]}, path)
    saved_figure.assert_readable(path)
    assert saved_figure.texts.count("no values") == 5
    assert saved_figure.figure.axes[0].lines[0].get_xydata().tolist() == [[1, 1], [3, 3]]
    assert saved_figure.figure.axes[6].lines[0].get_marker() == "o"  # one epoch can be seen


def test_nothing_is_cut_off_or_covered(tmp_path, saved_figure):
    path = tmp_path / "l.png"
    runs = [history(list(np.geomspace(100, 1 + k, 30))) for k in range(2)]
    learning.draw(dict.fromkeys(TEN[4:6], runs), path)
    saved_figure.assert_readable(path)
