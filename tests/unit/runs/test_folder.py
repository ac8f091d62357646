"""A run's folder is never overwritten by mistake, can be found, and is described in run.json."""

from __future__ import annotations

import json
import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from softseg.core.errors import UserError
from softseg.core.locks import file_lock
from softseg.runs import folder
from softseg.runs.folder import Run, check_folder, create_folder, find_run, timestamp


def make_run(folder, **metadata):
    """Create a folder that looks like a run."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("name: x\n")
    run = Run(folder)
    run.update_metadata(**{"status": "training", **metadata})
    return run


def make_finished(folder, when):
    return make_run(folder, status="finished", finished=when)


def test_a_new_or_empty_folder_can_be_used(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        run = Run(tmp_path / name)
        check_folder(run, resume=False, overwrite=False)
        create_folder(run, overwrite=False)
        assert list(run.folder.iterdir()) == []
    assert not (tmp_path / "new/checkpoints").exists()


def test_checking_creates_nothing(tmp_path):
    check_folder(Run(tmp_path / "new"), resume=False, overwrite=True)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_run_is_rejected_without_resume_or_overwrite(tmp_path):
    run = make_run(tmp_path / "run")
    with pytest.raises(UserError, match=r"run exists already; add --resume or --overwrite"):
        check_folder(run, resume=False, overwrite=False)
    check_folder(run, resume=True, overwrite=False)
    check_folder(run, resume=False, overwrite=True)
    assert run.config.exists()


def test_overwriting_empties_the_runs_folder(tmp_path):
    run = make_run(tmp_path / "run", status="finished")
    (run.folder / "checkpoints").mkdir()
    run.last.write_text("old")
    create_folder(run, overwrite=True)
    assert list(run.folder.iterdir()) == []


def test_overwrite_rejects_a_folder_that_is_not_a_run(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="is not a softseg run, so --overwrite does not delete it"):
        check_folder(Run(tmp_path), resume=False, overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}])
def test_a_file_in_place_of_the_folder_is_rejected(tmp_path, options):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError):
        check_folder(Run(tmp_path / "run"), **{"resume": False, "overwrite": False, **options})


@pytest.mark.parametrize("options", [{"overwrite": True}, {"resume": True}])
def test_a_users_own_config_does_not_make_a_folder_a_run(tmp_path, options):
    for name in ("config.yaml", "thesis.tex"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match="is not a softseg run"):
        check_folder(Run(tmp_path), **{"resume": False, "overwrite": False, **options})


def test_temporary_files_of_a_killed_process_are_ignored_and_deleted(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.part-abc-run.json").write_text("ha")
    run = Run(tmp_path / "run")
    check_folder(run, resume=False, overwrite=False)
    create_folder(run, overwrite=False)
    assert list(run.folder.iterdir()) == []


def make_ablation_run(folder, when, file="plan.json"):
    run = make_finished(folder / "soft/split-3", when)
    (folder / file).write_text("{}")
    return run


@pytest.mark.parametrize("file", ["plan.json", "ablation.yaml"])
def test_the_newest_finished_training_outside_of_ablations_is_found(tmp_path, file):
    single = make_finished(tmp_path / "single", "2024-03-01T10:00:00+00:00")
    nested = make_finished(tmp_path / "of/mine/split-1", "2024-03-01T10:00:01+00:00")
    newer = make_ablation_run(tmp_path / "ablation", "2024-03-02T09:00:00+00:00", file)
    assert newer.ablation == (tmp_path / "ablation").resolve()
    assert single.ablation is nested.ablation is None
    assert find_run(None, tmp_path).folder == nested.folder
    assert find_run(str(newer.folder)).folder == newer.folder


def test_a_link_to_a_run_of_an_ablation_is_part_of_it(tmp_path):
    target = make_ablation_run(tmp_path / "ablation", "2024-03-02T09:00:00+00:00")
    (tmp_path / "best").symlink_to(target.folder)
    assert Run(tmp_path / "best").ablation == (tmp_path / "ablation").resolve()


def test_only_runs_of_ablations_are_a_user_error(tmp_path):
    make_ablation_run(tmp_path / "ablation", "2024-03-02T09:00:00+00:00")
    with pytest.raises(UserError, match=r"no finished run in .* outside of an ablation; train"):
        find_run(None, tmp_path)


@pytest.mark.parametrize("status", ["training", "interrupted", "failed"])
def test_an_unfinished_training_is_ignored(tmp_path, status):
    old = make_finished(tmp_path / "old", "2024-03-01T10:00:00+00:00")
    # a finished run that was resumed with more epochs still has the time it first finished
    make_run(tmp_path / "new", status=status, finished="2030-01-01T00:00:00+00:00")
    assert find_run(None, tmp_path).folder == old.folder


@pytest.mark.parametrize("content", ["", "{", "[1]", '"finished"', "\x00"])
def test_a_run_with_a_damaged_run_json_is_ignored(tmp_path, content):
    old = make_finished(tmp_path / "old", "2024-03-01T10:00:00+00:00")
    (make_run(tmp_path / "new").folder / "run.json").write_text(content)
    assert find_run(None, tmp_path).folder == old.folder
    assert Run(tmp_path / "new").metadata() == {}


def test_a_missing_finished_training_is_a_user_error(tmp_path):
    make_run(tmp_path / "runs/new", status="training")
    for root in (tmp_path / "runs", tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"there is no finished run in .*train first, or name"):
            find_run(None, root)


def test_a_named_run_need_not_be_finished_but_must_be_a_run(tmp_path):
    run = make_run(tmp_path / "run")
    assert find_run(str(run.folder)).folder == run.folder
    missing = r"nowhere is not a softseg run: there is no such folder.*; runs are .*run"
    for name, why in (("nowhere", missing), (".", r"is not a softseg run: it has no config\.yaml")):
        with pytest.raises(UserError, match=why):
            find_run(str(tmp_path / name))


def test_the_folder_of_an_ablation_is_not_a_run_and_the_message_names_its_runs(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study/plan.json").write_text("{}")
    with pytest.raises(UserError, match=r"study is not a softseg run: .* of an ablation$"):
        find_run(str(tmp_path / "study"))
    make_run(tmp_path / "study/Dice/split-0")
    with pytest.raises(UserError, match=r"of an ablation; runs are .*study/Dice/split-0"):
        find_run(str(tmp_path / "study"))


def test_metadata_accumulate_in_run_json(tmp_path):
    run = make_run(tmp_path / "run", status="training", seed=3)
    run.update_metadata(status="finished", epochs=7)
    expected = {"status": "finished", "seed": 3, "epochs": 7}
    assert json.loads((tmp_path / "run/run.json").read_text()) == expected
    assert run.metadata() == expected


def test_timestamps_are_in_utc_to_the_second_so_that_they_sort_as_text():
    when = datetime.fromisoformat(timestamp())
    assert when.utcoffset().total_seconds() == 0
    assert when.microsecond == 0
    assert abs((datetime.now(UTC) - when).total_seconds()) < 60


def test_the_log_is_next_to_the_folder_however_its_path_is_written(tmp_path, monkeypatch):
    (tmp_path / "runs/a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "runs/a")
    assert Run(Path()).log == tmp_path / "runs/a.log"
    assert Run(Path("b")).failure == Path("b.failed")


def test_a_damaged_run_json_is_not_overwritten(tmp_path):
    """A person can still read part of it."""
    run = Run(tmp_path)
    cut = '{"status": "finished", "data_finger'
    (tmp_path / "run.json").write_text(cut)
    with pytest.raises(UserError, match=r"run\.json is damaged; restore it from a copy"):
        run.update_metadata(scored_epoch=5)
    assert (tmp_path / "run.json").read_text() == cut


def note_fifty_times(folder, name):
    for n in range(50):
        Run(folder).update_metadata(**{f"{name}-{n}": n})


@pytest.mark.skipif(os.name != "posix", reason="forks, which takes no time")
def test_notes_of_several_processes_at_the_same_time_are_all_kept(tmp_path):
    """For example `eval --threshold-search` while training writes its epoch."""
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=note_fifty_times, args=(tmp_path, k)) for k in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(Run(tmp_path).metadata()) == 200


def test_notes_of_several_threads_are_all_kept(tmp_path):
    run = Run(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: run.update_metadata(**{str(n): n}), range(100)))
    assert len(run.metadata()) == 100


def test_a_run_killed_before_its_first_note_does_not_block_the_next_training(tmp_path):
    """The lock of run.json exists, and nothing else."""
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    with file_lock(run.metadata_lock):
        pass
    check_folder(run, resume=False, overwrite=False)


def test_a_lock_of_run_json_that_is_never_released_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "_PATIENCE", 0.0)
    run = Run(tmp_path)
    with (
        file_lock(run.metadata_lock),
        pytest.raises(UserError, match=r"\.run\.json\.lock: another"),
    ):
        run.update_metadata(done=1)
