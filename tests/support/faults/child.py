"""`softseg ARGUMENTS` in a process forked with torch imported: starts in one second, not five."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from tests.support.faults.injected import Fault, arm

_TIMEOUT = 120.0
_IMPORTED = ["softseg.training.train", "softseg.ablation.design", "softseg.evaluation.evaluate",
             "softseg.evaluation.recalibration.recalibrate", "matplotlib.backends.backend_agg",
             "torch._dynamo"]  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a command ended: its status, its output, and its calls that changed files."""

    status: int
    out: str
    err: str
    calls: Counter[str]
    struck: bool
    seconds: float


class Child:
    """A running command; it has started when the constructor returns."""

    def __init__(self, folder: Path, *arguments: str, fault: Fault = None) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_IMPORTED)
        pipes = [context.Pipe(duplex=False) for _ in range(3)]
        senders = tuple(sender for _, sender in pipes)
        self._out, self._err, self._events = (receiver for receiver, _ in pipes)
        self._process = context.Process(target=_work, args=(folder, arguments, fault, *senders))
        self._process.start()
        for sender in senders:
            sender.close()
        assert self._next_event() == b"begun\n"
        self._start, self._event = time.monotonic(), b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # a failed test must not leave it behind, stopped

    def _next_event(self) -> bytes:
        assert self._events.poll(_TIMEOUT), "the command hangs"
        return os.read(self._events.fileno(), 6)

    def wait_for_the_fault(self) -> bool:
        """Wait until the fault strikes; False if the command ends without it."""
        self._event = self._next_event()
        return self._event == b"fault\n"

    def send(self, name: str) -> None:
        """Send a signal to the running command."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.Signals[name])

    def wait(self) -> Ended:
        """Wait for the end of the command, and kill it if it hangs."""
        self._process.join(_TIMEOUT)
        seconds = time.monotonic() - self._start
        self._process.kill()
        self._process.join()
        out, err, events = (_read_all(p) for p in (self._out, self._err, self._events))
        words = (self._event.decode() + events).split()
        status, struck = self._process.exitcode, "fault" in words
        assert status is not None
        return Ended(status, out, err, Counter(words) - Counter(fault=9**9), struck, seconds)


def softseg(folder: Path, *arguments: str, fault: Fault = None) -> Ended:
    """Run a command to its end."""
    with Child(folder, *arguments, fault=fault) as child:
        return child.wait()


def _read_all(pipe: Connection) -> str:
    with pipe, open(pipe.fileno(), "rb", closefd=False) as stream:
        return stream.read().decode(errors="replace")


def _work(folder: Path, arguments: tuple[str, ...], fault: Fault, *pipes: Connection) -> None:
    """In the child: run the `softseg` command with the fault armed."""
    for pipe, number in zip(pipes, (1, 2), strict=False):
        os.dup2(pipe.fileno(), number)
    os.chdir(folder)
    os.environ["COLUMNS"] = "200"
    sys.argv = ["softseg", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in a background job
    status = _status(fault, folder, pipes[2].fileno())
    os._exit(status)  # skip the exit handlers of the test's process


def _status(fault: Fault, folder: Path, events: int) -> int:
    from softseg.cli import main as cli
    from tests.support.checkpoint_thread import settle_after_every_epoch

    settle_after_every_epoch()  # so that the same run has the same disk operations
    app, calls = cli.app, Counter[str]()

    def begin(**options: Any) -> None:  # main has installed its signal handlers by then
        nonlocal calls
        calls = arm(fault, folder, lambda: os.write(events, b"fault\n"))
        os.write(events, b"begun\n")
        app(**options)

    cli.app = begin  # type: ignore[assignment]
    try:
        cli.main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(events, " ".join(calls.elements()).encode())
    return status
