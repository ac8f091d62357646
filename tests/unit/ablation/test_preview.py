"""`softseg ablate --plan`: the status of each run, and how long the missing ones will take."""

from __future__ import annotations

import io
import re
from datetime import timedelta

import pytest
from rich.console import Console

from softseg.ablation import run_plan
from softseg.config.load import dump
from softseg.training.step_times import Times
from tests.support import ablation_folder as fake


@pytest.fixture
def plan(study):
    """Two candidates on three splits, in an empty folder."""
    return study()[1]


def begin(planned, epochs, **metadata):
    """Write a run that has completed some epochs."""
    folder = planned.run.folder
    folder.mkdir(parents=True)
    planned.run.config.write_text(dump(planned.experiment))
    fake.note(folder, **{"status": "training", "device": "cpu", "threads": 1, **metadata})
    fake.history(folder, [50.0] * epochs)


def finish(planned, epochs, evaluation):
    """Write a run that took 12 seconds per epoch and some for its evaluation."""
    begin(planned, epochs, done="2024-03-01T10:00:00+00:00", evaluation_seconds=evaluation)


def output(plan, picked, tmp_path, jobs=1):
    console = Console(file=io.StringIO(), width=200)
    run_plan.show_plan(plan, picked, tmp_path / "runs", console, jobs)
    return console.file.getvalue()


def estimate(text):
    hours, minutes, seconds = re.search(r"about (\d+):(\d+):(\d+) ", text).groups()
    return timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds))


def test_every_run_is_listed_with_its_sets_and_status(plan, tmp_path):
    finish(plan[0], 2, 5.0)
    begin(plan[1], 1)
    fake.fail(plan[2].run.folder, "loss is not finite")
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in output(plan, plan, tmp_path).splitlines()
        if line.startswith("│")
    ]
    assert rows[0] == ["0", "Soft", "0", "2", "2", "2", "done"]
    assert rows[1] == ["1", "Dice", "0", "2", "2", "2", "unfinished, epoch 1 of 2"]
    assert [row[-1] for row in rows[2:]] == ["failed", "not begun", "not begun", "not begun"]


def test_a_run_that_failed_after_some_epochs_has_the_status_of_the_report(plan, tmp_path):
    begin(plan[0], 1)
    fake.fail(plan[0].run.folder, "loss is not finite")
    row = next(line for line in output(plan, plan, tmp_path).splitlines() if "Soft" in line)
    assert row.split("│")[-2].strip() == "failed"


def test_a_missing_run_takes_as_long_as_its_candidates_runs_done(plan, tmp_path):
    finish(plan[0], 2, 6.0)  # Soft: 30 s
    finish(plan[1], 10, 0.0)  # Dice: 120 s
    finish(plan[2], 2, 6.0)  # Soft
    text = output(plan, plan, tmp_path)
    assert estimate(text) == timedelta(seconds=30 + 2 * 120)
    assert "3 of 6 runs to do" in text
    assert "from 3 run(s) done" in text


def test_a_candidate_without_a_run_done_takes_as_long_as_the_others(plan, tmp_path):
    finish(plan[0], 2, 6.0)  # 30 s
    finish(plan[2], 4, 2.0)  # 50 s: the median is 40 s
    assert estimate(output(plan, plan, tmp_path)) == timedelta(seconds=4 * 40)


def test_one_slow_run_does_not_spoil_the_estimate(plan, tmp_path):
    for planned, epochs in zip(plan[::2], (1, 100, 2), strict=True):  # all of Soft
        finish(planned, epochs, 0.0)
    assert estimate(output(plan, plan, tmp_path)) == timedelta(seconds=3 * 24)


def test_jobs_share_the_time_and_runs_not_picked_cost_none(plan, tmp_path):
    finish(plan[0], 2, 6.0)
    assert estimate(output(plan, plan, tmp_path, jobs=5)) == timedelta(seconds=30)
    text = output(plan, plan[:3], tmp_path)
    assert estimate(text) == timedelta(seconds=60)
    assert "2 of 3 runs to do" in text


@pytest.mark.parametrize("is_first", [True, False])
def test_the_number_of_jobs_can_be_measured(plan, tmp_path, monkeypatch, is_first):
    if not is_first:
        finish(plan[0], 2, 6.0)
    monkeypatch.setattr(run_plan, "auto_jobs", lambda todo, stacks, gpus, console: len(stacks))
    missing = 6 if is_first else 5
    assert f"with --jobs {missing}, if this machine" in output(plan, plan, tmp_path, jobs=None)


def test_a_done_run_that_was_not_picked_counts_for_the_estimate(plan, tmp_path):
    finish(plan[0], 2, 6.0)
    assert "from 1 run(s) done" in output(plan, plan[4:5], tmp_path)


def test_a_finished_ablation_is_reported_as_done(plan, tmp_path):
    for planned in plan:
        finish(planned, 2, 6.0)
    assert "all of these runs are done" in output(plan, plan, tmp_path)


def test_without_a_run_done_the_steps_of_each_candidate_are_timed(plan, tmp_path, monkeypatch):
    """An epoch is measured with its batches and its validation; a run has 2 epochs."""
    seconds = {"adaptive_wing": 100.0, "dice": 50.0}
    timed = []

    def times(state, task):
        timed.append(task.loss.name)
        return Times(step=1.0, epoch=seconds[task.loss.name])

    monkeypatch.setattr(run_plan, "measure_times", times)
    text = output(plan, plan, tmp_path, jobs=2)
    assert sorted(timed) == ["adaptive_wing", "dice"]  # each candidate once, not each run
    assert estimate(text) == timedelta(seconds=2 * 3 * (100 + 50) / 2)


def test_planning_trains_nothing(plan, tmp_path):
    assert "(estimated from a few steps of each" in output(plan, plan, tmp_path)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [".stacks"]
