"""A training has its run's folder to itself, and whatever ends it is told once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from softseg.errors import UserError
from softseg.run import LockedError, Run, forget_lock, lock

_DYING = 1.0  # seconds that a process may take to be gone after it was killed


@contextmanager
def alone(run: Run) -> Iterator[None]:
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
