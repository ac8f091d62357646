"""`softseg train --dry-run`: what a training is and needs, with nothing trained or written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from softseg.training import step_times
from softseg.training.step_times import STEPS, WARM_UP
from tests.support import project
from tests.support.command import command_in_copy
from tests.support.several import Commands, warm_up

NO_CACHE = ("--set", "dataset.cache=null")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    project.make(folder)
    return folder


@pytest.fixture
def softseg(made, tmp_path, monkeypatch, capsys):
    """The command in a copy of a small project."""
    return command_in_copy(made, tmp_path / "copy", monkeypatch, capsys)


def contents(folder: Path = Path()) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def summary(out: str) -> list[str]:
    """The lines before training."""
    lines = out.splitlines()
    return lines[: next(n for n, line in enumerate(lines) if line.startswith("epochs")) + 1]


def test_its_summary_is_that_of_the_training_and_nothing_is_written(softseg):
    before, folders = contents(), sorted(Path().rglob("*"))
    status, out, _ = softseg("train", "tiny.yaml", "--dry-run", *NO_CACHE)
    assert status == 0
    assert contents() == before
    assert sorted(Path().rglob("*")) == folders  # not even a lock or an empty folder
    assert "dry run   nothing is trained, and runs/tiny is not written.\n" in out
    status, trained, _ = softseg("train", "tiny.yaml", *NO_CACHE)
    assert status == 0
    assert summary(out) == summary(trained)
    assert [w for w in out.splitlines() if w.startswith("warning")] == [
        w for w in trained.splitlines() if w.startswith("warning   ")
    ]


def test_only_the_cache_is_filled_and_named(softseg):
    before = contents()
    _, out, _ = softseg("train", "tiny.yaml", "--dry-run")
    assert "slices are in the cache runs/.cache." in out
    new = set(contents()) - set(before)
    assert new
    assert all(path.is_relative_to("runs/.cache") for path in new)


def test_json_has_the_numbers_of_the_run(softseg):
    status, out, err = softseg("train", "tiny.yaml", "--dry-run", "--json")
    result = json.loads(out)
    assert status == 0
    assert "epochs    2 at most" in err
    softseg("train", "tiny.yaml")
    run = json.loads(Path("runs/tiny/run.json").read_text())
    assert result["memory_bytes"]["slices"] == run["store_bytes"]
    assert result["warnings"] == run["warnings"][: len(result["warnings"])]
    assert result["device"] == run["device"]
    sets = json.loads(Path("runs/tiny/split.json").read_text())
    subjects = [data["subjects"] for data in result["data"].values()]
    assert subjects == [len(sets[name]) for name in ("train", "validation", "test")]
    assert result["epochs_left"] == 2
    seconds = result["seconds"]
    assert 0 < seconds["step"] < seconds["epoch"]
    assert seconds["all_epochs"] == pytest.approx(2 * seconds["epoch"])


def test_a_resumed_run_is_described_by_what_is_left(softseg):
    constant = ("--set", "trainer.schedule.name=constant")
    softseg("train", "tiny.yaml", *constant)
    before = contents()
    more = ("--resume", "--extend", *constant, "--set", "trainer.max_epochs=5")
    status, out, _ = softseg("train", "tiny.yaml", "--dry-run", "--json", *more)
    result = json.loads(out)
    assert status == 0
    assert (result["epochs_done"], result["epochs_left"]) == (2, 3)
    assert result["seconds"]["all_epochs"] == pytest.approx(3 * result["seconds"]["epoch"])
    status, out, _ = softseg("train", "tiny.yaml", "--dry-run", *more)
    assert "resuming with epoch 3" in out
    assert "for the 3 epochs that are left at most" in out
    assert "changed   trainer.max_epochs" in out
    status, out, _ = softseg("train", "tiny.yaml", "--dry-run", "--resume", *constant)
    assert (status, out) == (0, "runs/tiny is already trained: 2 epochs\n")
    assert contents() == before


def test_it_stops_where_training_would(softseg):
    softseg("train", "tiny.yaml")
    before = contents()
    status, _, err = softseg("train", "tiny.yaml", "--dry-run")
    assert status == 2
    assert "runs/tiny exists already; add --resume or --overwrite" in err
    status, out, _ = softseg("train", "tiny.yaml", "--dry-run", "--overwrite")
    assert status == 0
    assert "dry run   " in out
    assert contents() == before


@pytest.mark.parametrize("options", [("--dry-run", "--profile"), ("--json",)])
def test_options_that_do_not_go_together(softseg, options):
    status, _, err = softseg("train", "tiny.yaml", *options)
    assert status == 2
    assert "--dry-run" in err


def test_every_process_takes_part_and_the_first_one_reports(tmp_path):
    warm_up()
    several = Commands(tmp_path)
    try:
        ended = several.run(["train", "tiny.yaml", "--dry-run", *NO_CACHE])
    finally:
        several.kill()
    assert ended.statuses == [0, 0]
    assert "processes 2, each with its part of every batch" in ended.outputs[0]
    assert f"(median of {STEPS})" in ended.outputs[0]
    assert ended.outputs[1] == ""
    assert not (tmp_path / "runs").exists()


def test_a_few_steps_are_taken(softseg, monkeypatch):
    sizes, step = [], step_times.train_step
    monkeypatch.setattr(
        step_times, "train_step", lambda s, t, b, n: sizes.append(b.batch_size) or step(s, t, b, n)
    )
    softseg("train", "tiny.yaml", "--dry-run", *NO_CACHE)
    assert sizes == [4] * (WARM_UP + STEPS)
