"""A run's folder after an accident, and its lock."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from softseg.core.errors import UserError
from softseg.runs.folder import Run, check_folder, create_folder
from softseg.runs.lock import LockedError, exclusive, lock


def make_run(folder):
    """Create a run with some files and folders."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "figures").mkdir()
    for name in ("config.yaml", "checkpoints/last.pt", "checkpoints/best.pt", "figures/a.png"):
        (folder / name).write_text(name)
    run = Run(folder)
    run.update_metadata(status="training")
    return run


@pytest.mark.parametrize("option", ["resume", "overwrite"])
def test_a_damaged_run_json_is_reported(tmp_path, option):
    run = make_run(tmp_path / "run")
    (run.folder / "run.json").write_text('{"status": "trai')
    options = {"resume": False, "overwrite": False} | {option: True}
    with pytest.raises(UserError, match=r"run\.json is damaged; restore it .* or choose"):
        check_folder(run, **options)
    assert run.config.exists()


def test_an_interrupted_deletion_leaves_a_run_without_last_checkpoint(tmp_path, monkeypatch):
    """last.pt is deleted first and run.json, which makes the folder a run, last."""
    removed = []
    real = {"rmtree": shutil.rmtree, "unlink": Path.unlink}

    def stop_at(count):
        def delete(path, *args, **kwargs):
            if len(removed) == count:
                raise KeyboardInterrupt
            removed.append(path)
            return real["unlink" if path.is_file() else "rmtree"](path, *args, **kwargs)

        return delete

    for count in range(1, 5):
        run = make_run(tmp_path / str(count))
        removed.clear()
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", stop_at(count))
            patch.setattr(Path, "unlink", stop_at(count))
            with pytest.raises(KeyboardInterrupt):
                create_folder(run, overwrite=True)
        assert not run.last.exists()
        assert run.exists()  # so --overwrite can delete the rest
        create_folder(run, overwrite=True)
        assert list(run.folder.iterdir()) == []


def test_the_lock_holds_for_every_way_to_write_the_path(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run")
    (tmp_path / "link").symlink_to(run.folder)
    monkeypatch.chdir(run.folder)
    with exclusive(run):
        for name in (".", "../run", "../link", str(run.folder)):
            with pytest.raises(LockedError), lock(Run(Path(name)), 0):
                pytest.fail("two processes work on one run")


def test_a_locked_run_cannot_be_trained(tmp_path):
    run = make_run(tmp_path / "run")
    with (
        lock(run, 0),
        pytest.raises(UserError, match=r"another process is training in .*run; wait for it"),
        exclusive(run),
    ):
        pytest.fail("two processes work on one run")
