"""A run's folder: never taken over or deleted by mistake, found again, described in run.json."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from softseg.core.errors import UserError
from softseg.runs.folder import Run, check_folder, create_folder, find_run, timestamp
from softseg.runs.lock import LockedError, exclusive, lock


def made(folder, **facts):
    """A folder that looks like a run."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("name: x\n")
    run = Run(folder)
    run.update_metadata(**{"status": "training", **facts})
    return run


def finished(folder, when):
    return made(folder, status="finished", finished=when)


def test_a_new_or_empty_folder_is_free(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        run = Run(tmp_path / name)
        check_folder(run, resume=False, overwrite=False)
        create_folder(run, overwrite=False)
        assert list(run.folder.iterdir()) == []
    assert not (tmp_path / "new/checkpoints").exists()


def test_checking_makes_nothing(tmp_path):
    check_folder(Run(tmp_path / "new"), resume=False, overwrite=True)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_exists_is_refused_unless_told_how(tmp_path):
    run = made(tmp_path / "run")
    with pytest.raises(UserError, match=r"run exists already; add --resume or --overwrite"):
        check_folder(run, resume=False, overwrite=False)
    check_folder(run, resume=True, overwrite=False)
    check_folder(run, resume=False, overwrite=True)
    assert run.config.exists()


def test_overwriting_empties_the_runs_folder(tmp_path):
    run = made(tmp_path / "run", status="finished")
    (run.folder / "checkpoints").mkdir()
    run.last.write_text("old")
    create_folder(run, overwrite=True)
    assert list(run.folder.iterdir()) == []


def test_overwrite_leaves_a_folder_alone_that_is_no_run(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="is not a softseg run, so --overwrite leaves it alone"):
        check_folder(Run(tmp_path), resume=False, overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_a_file_in_the_folders_place_is_refused(tmp_path, how):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError):
        check_folder(Run(tmp_path / "run"), **{"resume": False, "overwrite": False, **how})


@pytest.mark.parametrize("how", [{"overwrite": True}, {"resume": True}])
def test_a_config_of_the_users_own_does_not_make_a_folder_a_run(tmp_path, how):
    for name in ("config.yaml", "thesis.tex"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match="is not a softseg run"):
        check_folder(Run(tmp_path), **{"resume": False, "overwrite": False, **how})


def test_what_a_killed_process_was_writing_is_no_hindrance_and_is_cleared(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.part-abc-run.json").write_text("ha")
    run = Run(tmp_path / "run")
    check_folder(run, resume=False, overwrite=False)
    create_folder(run, overwrite=False)
    assert list(run.folder.iterdir()) == []


def test_the_newest_finished_training_is_found_in_ablations_too(tmp_path):
    finished(tmp_path / "zz_old", "2024-03-01T10:00:00+00:00")
    nested = finished(tmp_path / "ablation/soft/split-3", "2024-03-02T09:00:00+00:00")
    finished(tmp_path / "ablation/hard/split-3", "2024-03-02T08:59:59+00:00")
    assert find_run(None, tmp_path).folder == nested.folder


@pytest.mark.parametrize("status", ["training", "interrupted", "failed"])
def test_a_training_that_did_not_finish_is_passed_over(tmp_path, status):
    old = finished(tmp_path / "old", "2024-03-01T10:00:00+00:00")
    # a finished one that was resumed with more epochs still has the time it finished first
    made(tmp_path / "new", status=status, finished="2030-01-01T00:00:00+00:00")
    assert find_run(None, tmp_path).folder == old.folder


@pytest.mark.parametrize("content", ["", "{", "[1]", '"finished"', "\x00"])
def test_a_damaged_run_json_is_passed_over(tmp_path, content):
    old = finished(tmp_path / "old", "2024-03-01T10:00:00+00:00")
    (made(tmp_path / "new").folder / "run.json").write_text(content)
    assert find_run(None, tmp_path).folder == old.folder
    assert Run(tmp_path / "new").metadata() == {}


def test_no_finished_training_is_the_users_to_mend(tmp_path):
    made(tmp_path / "runs/new", status="training")
    for root in (tmp_path / "runs", tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"no finished training under .*train first or name"):
            find_run(None, root)


def test_a_named_run_need_not_be_finished_but_must_be_one(tmp_path):
    run = made(tmp_path / "run")
    assert find_run(str(run.folder)).folder == run.folder
    for name in ("nowhere", "."):
        with pytest.raises(UserError, match=r"is not a softseg run: it has no config\.yaml"):
            find_run(str(tmp_path / name))


def test_notes_add_up_in_run_json(tmp_path):
    run = made(tmp_path / "run", status="training", seed=3)
    run.update_metadata(status="finished", epochs=7)
    expected = {"status": "finished", "seed": 3, "epochs": 7}
    assert json.loads((tmp_path / "run/run.json").read_text()) == expected
    assert run.metadata() == expected


def test_times_are_in_utc_to_the_second_so_that_they_sort_as_text():
    when = datetime.fromisoformat(timestamp())
    assert when.utcoffset().total_seconds() == 0
    assert when.microsecond == 0
    assert abs((datetime.now(UTC) - when).total_seconds()) < 60


HOLD = """\
import sys, time
from pathlib import Path
from softseg.runs.folder import Run
from softseg.runs.lock import lock
with lock(Run(Path(sys.argv[1])), 0):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `tmp_path/study/run`."""
    arguments = [sys.executable, "-c", HOLD, str(tmp_path / "study/run")]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_run_that_another_process_is_at_stays_locked_until_that_one_is_killed(holder, tmp_path):
    run = Run(tmp_path / "study/run")
    began = time.monotonic()
    with pytest.raises(LockedError, match="study/run"), lock(run, 0.3):
        pytest.fail("two processes work on one run")
    assert 0.3 <= time.monotonic() - began < 5
    with lock(Run(tmp_path / "study/other"), 0):
        pass  # another run is free
    holder.kill()  # SIGKILL: it can tidy nothing up
    with lock(run, 20):
        pass


def test_a_lock_is_let_go_whatever_ends_the_work_and_makes_no_folder(tmp_path):
    run = Run(tmp_path / "study/run")
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), lock(run, 0):
            raise error
    with lock(run, 0):
        assert not run.folder.exists()  # so it looks like nothing was begun there


def test_the_log_of_a_run_lies_beside_its_folder_by_whatever_name_that_is_called(
    tmp_path, monkeypatch
):
    (tmp_path / "runs/a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "runs/a")
    assert Run(Path()).log == tmp_path / "runs/a.log"
    assert Run(Path("b")).failure == Path("b.failed")


@pytest.mark.parametrize("mine", [True, False])
def test_a_run_that_is_refused_leaves_the_folders_that_were_there(tmp_path, mine):
    if mine:
        (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="no data"), exclusive(Run(tmp_path / "mine/run")):
        raise UserError("no data")
    assert (tmp_path / "mine").exists() == mine
    assert not list(tmp_path.rglob("*lock"))


def test_an_error_of_the_disk_that_names_no_file_names_the_run(tmp_path):
    """As TensorBoard's, which writes from a thread of its own."""
    run = Run(tmp_path / "run")
    with pytest.raises(OSError, match="No space left") as caught, exclusive(run):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(run.folder)


def test_a_damaged_run_json_is_not_written_over(tmp_path):
    """All that it still holds for a person to read would be lost."""
    run = Run(tmp_path)
    cut = '{"status": "finished", "data_finger'
    (tmp_path / "run.json").write_text(cut)
    with pytest.raises(UserError, match=r"run\.json is damaged; restore it from a copy"):
        run.update_metadata(scored_epoch=5)
    assert (tmp_path / "run.json").read_text() == cut
