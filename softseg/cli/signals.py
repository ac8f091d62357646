"""An interruption (Ctrl-C, or the SIGTERM of a cluster) ends a command wherever it meets it."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_AGAIN = 0.05  # seconds after which one that was lost comes again


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Let SIGINT and SIGTERM raise KeyboardInterrupt; yields whether one has come.

    Where they meet an import, Python or a library may make another error of it, or lose it in a
    callback, which only prints it. A lost one is raised again. A SIGINT that is ignored from the
    start, as in a shell's background, stays so.
    """
    came = threading.Event()

    def interrupt(*_: object) -> None:
        came.set()
        raise KeyboardInterrupt

    def not_lost(what: sys.UnraisableHookArgs) -> None:
        if what.exc_type is not KeyboardInterrupt:
            before(what)
            return
        threading.Timer(_AGAIN, _once_more).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    before, sys.unraisablehook = sys.unraisablehook, not_lost
    try:
        yield came
    finally:
        sys.unraisablehook = before


def _once_more() -> None:
    if os.name == "posix":
        os.kill(os.getpid(), signal.SIGTERM)  # wakes whatever waits
    else:
        _thread.interrupt_main()
