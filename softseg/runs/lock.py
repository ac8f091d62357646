"""A training has its run's folder to itself, and whatever ends it is told once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from softseg.core.errors import UserError
from softseg.runs.folder import Run

_DYING = 1.0  # seconds that a process may take to be gone after it was killed


@contextmanager
def exclusive(run: Run) -> Iterator[None]:
    """Train in a run's folder while no other process does.

    Raises UserError where one does. An OSError that names no file, as TensorBoard's, gets the
    folder's name.
    """
    made = not run.folder.parent.exists()
    before, threading.excepthook = threading.excepthook, _leave_to_the_main_thread
    try:
        with lock(run, _DYING):
            yield
    except LockedError:
        raise UserError(
            f"another process is training in {run.folder}; wait for it, or choose another --out"
        ) from None
    except UserError:
        forget_lock(run, made)
        raise
    except OSError as error:
        error.filename = error.filename or str(run.folder)
        raise
    finally:
        threading.excepthook = before


def _leave_to_the_main_thread(_: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread hands its error over; printed there too, it would be told twice."""


class LockedError(Exception):
    """Another process is working on the run."""


@contextmanager
def lock(run: Run, patience: float) -> Iterator[None]:
    """Keep other processes off a run; the system lets go of it however this process ends.

    The file lies beside the run's folder and stays. Raises LockedError after `patience` seconds.
    """
    path = _lock_of(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=patience):
            yield
    except Timeout:
        raise LockedError(str(run.folder)) from None


def _lock_of(run: Run) -> Path:
    folder = run.folder.resolve()  # however it is written, it is one run
    return folder.parent / f".{folder.name}.lock"


def forget_lock(run: Run, made: bool) -> None:
    """Leave nothing of a run that was refused before it began; `made`: its parent was made, too."""
    if not run.folder.exists():
        with suppress(OSError):  # the folder is not empty, or another process holds the file
            _lock_of(run).unlink(missing_ok=True)
            if made:
                _lock_of(run).parent.rmdir()
