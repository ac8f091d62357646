"""Exclusive lock on a run's folder, held while training in it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import Timeout

from softseg.core.errors import UserError
from softseg.core.files import check_writable
from softseg.core.locks import file_lock
from softseg.runs.folder import Run

_PATIENCE = 1.0  # seconds until a killed process is gone


class LockedError(Exception):
    """Another process is working on the run."""


@contextmanager
def exclusive(run: Run) -> Iterator[None]:
    """Hold the lock of a run's folder while training in it.

    Raises UserError if another process holds it. An OSError that names no file, such as
    TensorBoard's, gets the folder's name. If the body raises UserError before the folder exists,
    the lock file is removed again.
    """
    parent_existed = run.folder.parent.exists()
    # TensorBoard's thread passes its error to the main thread; do not print it twice
    before, threading.excepthook = threading.excepthook, lambda _: None
    try:
        with lock(run, _PATIENCE):
            yield
    except LockedError:
        raise UserError(
            f"another process is training in {run.folder}; wait for it, or choose another --out"
        ) from None
    except UserError:
        if not run.folder.exists():
            with suppress(OSError):  # its parent is not empty, or another process holds the file
                _lock_file(run).unlink(missing_ok=True)
                if not parent_existed:
                    _lock_file(run).parent.rmdir()
        raise
    except OSError as error:
        error.filename = error.filename or str(run.folder)
        raise
    finally:
        threading.excepthook = before


@contextmanager
def lock(run: Run, patience: float) -> Iterator[None]:
    """Hold the lock of a run; the system releases it however this process ends.

    The lock file is next to the run's folder and is not deleted. Raises LockedError if another
    process still holds the lock after `patience` seconds, and UserError if the file cannot be
    created.
    """
    check_writable(run.folder)
    path = _lock_file(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file_lock(path, patience):
            yield
    except Timeout:
        if not path.exists():  # creating it was retried, too
            message = f"nothing can be written to {path.parent}; choose another folder"
            raise UserError(f"{run.folder}: {message}") from None
        raise LockedError(str(run.folder)) from None


def _lock_file(run: Run) -> Path:
    folder = run.folder.resolve()  # the same for every way to write the path
    return folder.parent / f".{folder.name}.lock"
