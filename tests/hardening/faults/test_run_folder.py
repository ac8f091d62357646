"""A run's folder after an accident: what can still be done with it, and what is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from softseg.core.errors import UserError
from softseg.runs.folder import Run, check_folder, create_folder
from softseg.runs.lock import LockedError, exclusive, lock


def made(folder):
    """A run with something of every kind in it."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "figures").mkdir()
    for name in ("config.yaml", "checkpoints/last.pt", "checkpoints/best.pt", "figures/a.png"):
        (folder / name).write_text(name)
    run = Run(folder)
    run.update_metadata(status="training")
    return run


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_a_run_json_that_cannot_be_read_is_told(tmp_path, how):
    run = made(tmp_path / "run")
    (run.folder / "run.json").write_text('{"status": "trai')
    ways = {"resume": False, "overwrite": False} | {how: True}
    with pytest.raises(UserError, match=r"run\.json is damaged; restore it .* or choose"):
        check_folder(run, **ways)
    assert run.config.exists()


def test_a_deletion_that_is_cut_short_leaves_a_run_without_weights_to_go_on_from(
    tmp_path, monkeypatch
):
    """However far it came: last.pt goes first, and what makes the folder a run goes last."""
    removed = []
    real = {"rmtree": shutil.rmtree, "unlink": Path.unlink}

    def stop_at(count):
        def cut(path, *more, **known):
            if len(removed) == count:
                raise KeyboardInterrupt
            removed.append(path)
            return real["unlink" if path.is_file() else "rmtree"](path, *more, **known)

        return cut

    for count in range(1, 5):
        run = made(tmp_path / str(count))
        removed.clear()
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", stop_at(count))
            patch.setattr(Path, "unlink", stop_at(count))
            with pytest.raises(KeyboardInterrupt):
                create_folder(run, overwrite=True)
        assert not run.last.exists()
        assert run.exists()  # so --overwrite may go on
        create_folder(run, overwrite=True)
        assert list(run.folder.iterdir()) == []


def test_a_run_is_locked_by_whatever_name_it_is_called(tmp_path, monkeypatch):
    run = made(tmp_path / "run")
    (tmp_path / "link").symlink_to(run.folder)
    monkeypatch.chdir(run.folder)
    with exclusive(run):
        for name in (".", "../run", "../link", str(run.folder)):
            with pytest.raises(LockedError), lock(Run(Path(name)), 0):
                pytest.fail("two processes work on one run")


def test_a_run_at_which_another_is_refuses_to_be_trained(tmp_path):
    run = made(tmp_path / "run")
    with (
        lock(run, 0),
        pytest.raises(UserError, match=r"another process is training in .*run; wait for it"),
        exclusive(run),
    ):
        pytest.fail("two processes work on one run")
