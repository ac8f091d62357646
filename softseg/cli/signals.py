"""Interruptions (Ctrl-C, or a cluster's SIGTERM) that end a command at any point."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_RETRY_SECONDS = 0.05


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Let SIGINT and SIGTERM raise KeyboardInterrupt; the yielded event is set when one comes.

    During an import, Python or a library may turn the KeyboardInterrupt into another error; in a
    callback it is lost, as Python only prints it. A lost one is raised again. A SIGINT that was
    ignored from the start, as for a background job of a shell, stays ignored.
    """
    interrupted = threading.Event()

    def interrupt(*_: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    def retry_if_lost(unraisable: sys.UnraisableHookArgs) -> None:
        if unraisable.exc_type is not KeyboardInterrupt:
            before(unraisable)
            return
        threading.Timer(_RETRY_SECONDS, _interrupt_main_thread).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    before, sys.unraisablehook = sys.unraisablehook, retry_if_lost
    try:
        yield interrupted
    finally:
        sys.unraisablehook = before


def _interrupt_main_thread() -> None:
    if os.name == "posix":
        os.kill(os.getpid(), signal.SIGTERM)  # also ends a blocking system call
    else:
        _thread.interrupt_main()
