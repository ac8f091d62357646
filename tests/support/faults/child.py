"""`softseg ARGUMENTS` in a process that is forked with torch imported: a second, not five."""

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
from typing import Self

from tests.support.faults.injected import Fault, arm

_TIMEOUT = 120.0
_IMPORTED = ["softseg.training.train", "softseg.ablation.design", "softseg.evaluation.evaluate",
             "softseg.evaluation.recalibration.recalibrate", "matplotlib.backends.backend_agg",
             "torch._dynamo"]  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a command ended: as `subprocess` says it, and its calls that changed files."""

    status: int
    out: str
    err: str
    calls: Counter[str]
    struck: bool
    seconds: float


class Child:
    """A command that runs; it has begun when this is made."""

    def __init__(self, folder: Path, *arguments: str, fault: Fault = None) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_IMPORTED)
        pipes = [context.Pipe(duplex=False) for _ in range(3)]
        theirs = tuple(one for _, one in pipes)
        self._out, self._err, self._told = (one for one, _ in pipes)
        self._process = context.Process(target=_work, args=(folder, arguments, fault, *theirs))
        self._process.start()
        for one in theirs:
            one.close()
        assert self._hear() == b"begun\n"
        self._began, self._heard = time.monotonic(), b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # what failed must not leave it there, stopped

    def _hear(self) -> bytes:
        assert self._told.poll(_TIMEOUT), "it hangs"
        return os.read(self._told.fileno(), 6)

    def wait_for_the_fault(self) -> bool:
        """Wait until the fault strikes; False where the command ends without."""
        self._heard = self._hear()
        return self._heard == b"fault\n"

    def send(self, name: str) -> None:
        """Send it a signal; it must not have ended."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.Signals[name])

    def wait(self) -> Ended:
        """Its end. One that hangs is killed, as its status then says."""
        self._process.join(_TIMEOUT)
        seconds = time.monotonic() - self._began
        self._process.kill()
        self._process.join()
        out, err, told = (_all_of(one) for one in (self._out, self._err, self._told))
        words = (self._heard.decode() + told).split()
        status, struck = self._process.exitcode, "fault" in words
        assert status is not None
        return Ended(status, out, err, Counter(words) - Counter(fault=9**9), struck, seconds)


def softseg(folder: Path, *arguments: str, fault: Fault = None) -> Ended:
    """Run a command to its end."""
    with Child(folder, *arguments, fault=fault) as child:
        return child.wait()


def _all_of(pipe: Connection) -> str:
    with pipe, open(pipe.fileno(), "rb", closefd=False) as stream:
        return stream.read().decode(errors="replace")


def _work(folder: Path, arguments: tuple[str, ...], fault: Fault, *pipes: Connection) -> None:
    """In the child: what the `softseg` command does, with the fault armed."""
    for pipe, number in zip(pipes, (1, 2), strict=False):
        os.dup2(pipe.fileno(), number)
    os.chdir(folder)
    os.environ["COLUMNS"] = "200"
    sys.argv = ["softseg", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
    status = _status(fault, folder, pipes[2].fileno())
    os._exit(status)  # nothing of this test's process is to be done at its end


def _status(fault: Fault, folder: Path, tell: int) -> int:
    from softseg.cli import main as cli

    app, calls = cli.app, Counter[str]()

    def begin() -> None:  # main has set its signal handlers by then
        nonlocal calls
        calls = arm(fault, folder, lambda: os.write(tell, b"fault\n"))
        os.write(tell, b"begun\n")
        app()

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
    os.write(tell, " ".join(calls.elements()).encode())
    return status
