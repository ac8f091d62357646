"""`softseg ablate --plan`: how the runs stand, and how long the missing ones will take."""

from __future__ import annotations

import io
import re
from datetime import timedelta

import pytest
from rich.console import Console

from softseg.ablation import preview
from softseg.ablation.design import load_design
from softseg.ablation.plan import make_plan
from softseg.config.load import dump
from tests.support import ablation_folder as fake
from tests.support import project

STUDY = """\
extends: tiny.yaml
name: study
dataset: {cache: null}
splits: {name: leave_one_out, validation: 1}
candidates: {Soft: {}, Dice: {loss: {name: dice}}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    project.make(folder)
    (folder / "study.yaml").write_text(STUDY)
    return folder


@pytest.fixture
def plan(folder, tmp_path, monkeypatch):
    """Two candidates on three splits, in an empty folder."""
    monkeypatch.chdir(folder)
    design = load_design(folder / "study.yaml")
    return make_plan(design, tmp_path / "runs", Console(file=io.StringIO()))


def begin(one, epochs, **facts):
    one.run.folder.mkdir(parents=True)
    one.run.config.write_text(dump(one.experiment))
    fake.note(one.run.folder, **{"status": "training", "device": "cpu", "threads": 1, **facts})
    fake.history(one.run.folder, [50.0] * epochs)


def finish(one, epochs, scoring):
    """Done in 12 seconds an epoch and some for scoring."""
    begin(one, epochs, done="2024-03-01T10:00:00+00:00", evaluation_seconds=scoring)


def shown(plan, picked, tmp_path, jobs=1):
    console = Console(file=io.StringIO(), width=200)
    preview.show_plan(plan, picked, tmp_path / "runs", console, jobs)
    return console.file.getvalue()


def estimate(text):
    hours, minutes, seconds = re.search(r"at most about (\d+):(\d+):(\d+) ", text).groups()
    return timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds))


def test_every_run_is_listed_with_its_sets_and_how_it_stands(plan, tmp_path):
    finish(plan[0], 2, 5.0)
    begin(plan[1], 1)
    fake.fail(plan[2].run.folder, "loss is not finite")
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in shown(plan, plan, tmp_path).splitlines()
        if line.startswith("│")
    ]
    assert rows[0] == ["0", "Soft", "0", "2", "2", "2", "done"]
    assert rows[1] == ["1", "Dice", "0", "2", "2", "2", "epoch 1 of 2"]
    assert [row[-1] for row in rows[2:]] == ["failed", "to do", "to do", "to do"]


def test_missing_runs_are_thought_to_take_as_long_as_their_own_candidates(plan, tmp_path):
    finish(plan[0], 2, 6.0)  # Soft: 30 s
    finish(plan[1], 10, 0.0)  # Dice: 120 s
    finish(plan[2], 2, 6.0)  # Soft
    text = shown(plan, plan, tmp_path)
    assert estimate(text) == timedelta(seconds=30 + 2 * 120)
    assert "3 of 6 runs to do" in text
    assert "from the 3 done" in text


def test_a_candidate_of_which_none_is_done_is_thought_to_take_as_long_as_the_others(plan, tmp_path):
    finish(plan[0], 2, 6.0)  # 30 s
    finish(plan[2], 4, 2.0)  # 50 s: the median is 40 s
    assert estimate(shown(plan, plan, tmp_path)) == timedelta(seconds=4 * 40)


def test_one_slow_run_does_not_spoil_the_estimate(plan, tmp_path):
    for one, epochs in zip(plan[::2], (1, 100, 2), strict=True):  # all of Soft
        finish(one, epochs, 0.0)
    assert estimate(shown(plan, plan, tmp_path)) == timedelta(seconds=3 * 24)


def test_jobs_share_the_time_and_runs_not_picked_cost_none(plan, tmp_path):
    finish(plan[0], 2, 6.0)
    assert estimate(shown(plan, plan, tmp_path, jobs=5)) == timedelta(seconds=30)
    text = shown(plan, plan[:3], tmp_path)
    assert estimate(text) == timedelta(seconds=60)
    assert "2 of 3 runs to do" in text


def test_a_done_run_that_was_not_picked_is_known_all_the_same(plan, tmp_path):
    finish(plan[0], 2, 6.0)
    assert "from the 1 done" in shown(plan, plan[4:5], tmp_path)


def test_nothing_left_is_said(plan, tmp_path):
    for one in plan:
        finish(one, 2, 6.0)
    assert "all of them are done" in shown(plan, plan, tmp_path)


def test_where_none_is_done_each_candidates_steps_are_timed(plan, tmp_path, monkeypatch):
    """8 training slices of 4 a batch and 2 epochs are 4 steps a run, and validation on top."""
    seconds = {"adaptive_wing": 100.0, "dice": 50.0}
    timed = []

    def step_seconds(state, task, **how):
        timed.append(task.loss.name)
        return seconds[task.loss.name]

    monkeypatch.setattr(preview, "bare_step_seconds", step_seconds)
    text = shown(plan, plan, tmp_path, jobs=2)
    assert sorted(timed) == ["adaptive_wing", "dice"]  # each candidate once, not each run
    assert estimate(text) == timedelta(seconds=round(1.3 * 4 * 3 * (100 + 50) / 2))


def test_planning_trains_nothing(plan, tmp_path):
    assert "(from a few steps of each" in shown(plan, plan, tmp_path)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [".stacks"]
