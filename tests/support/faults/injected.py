"""What goes wrong inside a process of softseg: its n-th change to a disk fails, or kills it."""

from __future__ import annotations

import builtins
import errno
import io
import os
import resource
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

SURVIVED = ("SIGTERM", "SIGINT", "SIGSTOP")  # the call is then done as if nothing were
SPACE = ("create", "write", "mkdir")  # what a full disk refuses
CALLS = (*SPACE, "fsync", "rename", "remove")
_OF_OS = {"fsync": "fsync", "replace": "rename", "rename": "rename", "mkdir": "mkdir",
          "unlink": "remove", "remove": "remove", "rmdir": "remove"}  # fmt: skip
_OPEN = io.open


@dataclass(frozen=True)
class At:
    """The `number`-th of certain calls, from 1, goes wrong.

    `how` is a signal that the process gets there, or the error that the call ends with; where it
    is `lasting`, so do all later ones: a disk that is full stays full. A write that fails, or that
    the process does not survive, is half done.
    """

    calls: tuple[str, ...]
    number: int
    how: str
    lasting: bool = False


@dataclass(frozen=True)
class FileSize:
    """No file may grow beyond `limit` bytes: the kernel's own refusal, to C and C++ code too."""

    limit: int


Fault = At | FileSize | None


def arm(fault: Fault, folder: Path, tell: Callable[[], object]) -> Counter[str]:
    """Let a fault strike this process's work below a folder; returns its calls, counted on.

    `tell` is called first when it strikes.
    """
    if isinstance(fault, FileSize):
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.limit, fault.limit))
        fault = None
    calls = _Calls(fault, str(folder.resolve()), tell)
    for name, call in _OF_OS.items():
        setattr(os, name, calls.counted(getattr(os, name), call))
    os.open = calls.creating(os.open)  # type: ignore[assignment]
    io.open = builtins.open = calls.opening  # type: ignore[assignment]
    return calls.counts


class _Calls:
    """The calls so far, and the one that is to go wrong."""

    def __init__(self, fault: At | None, folder: str, tell: Callable[[], object]) -> None:
        self.fault, self.folder, self.tell = fault, folder, tell
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reach(self, call: str, path: object, half: Callable[[], object] = lambda: None) -> None:
        """Count a call; where it is to go wrong, do half of it and raise, or signal the process."""
        with self._lock:
            self.counts[call] += 1
            struck = self._struck(call)
        if not struck or self.fault is None:
            return
        if self.fault.how not in SURVIVED:
            half()
        self.tell()
        if self.fault.how.startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[self.fault.how])
        else:
            number = getattr(errno, self.fault.how)
            named = (os.fspath(path),) if isinstance(path, str | os.PathLike) else ()
            raise OSError(number, os.strerror(number), *named)

    def _struck(self, call: str) -> bool:
        if self.fault is None or call not in self.fault.calls:
            return False
        number = sum(self.counts[one] for one in self.fault.calls)
        return number == self.fault.number or (self.fault.lasting and number > self.fault.number)

    def _concerns(self, path: object) -> bool:
        """Whether a path lies in the folder; a descriptor, or a name below one, does."""
        given = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
        return not given or os.path.abspath(given).startswith(self.folder)  # noqa: PTH100

    def counted(self, done: Callable[..., Any], call: str) -> Callable[..., Any]:
        """A function of `os`, whose calls count."""

        @wraps(done)
        def instead(path: Any, *more: Any, **known: Any) -> Any:
            if self._concerns(path):
                self.reach(call, path)
            return done(path, *more, **known)

        return instead

    def creating(self, done: Callable[..., int]) -> Callable[..., int]:
        """os.open, which counts where it makes a file."""

        @wraps(done)
        def instead(path: Any, flags: int, *more: Any, **known: Any) -> int:
            if flags & os.O_CREAT:
                self._making(path)
            return done(path, flags, *more, **known)

        return instead

    def opening(
        self, file: Any, mode: str = "r", buffering: int = -1, *more: Any, **known: Any
    ) -> Any:
        """`open`, whose files count what is written to them."""
        if isinstance(file, int) or not set("wxa+") & set(mode) or not self._concerns(file):
            return _OPEN(file, mode, buffering, *more, **known)
        self._making(file)
        raw = _Raw(self, file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *more, **known)

    def _making(self, path: Any) -> None:
        if self._concerns(path) and not os.path.exists(path):  # noqa: PTH110
            self.reach("create", path)


class _Raw(io.FileIO):
    """A file whose writes count."""

    def __init__(self, calls: _Calls, file: Any, mode: str) -> None:
        self._calls = calls
        super().__init__(file, mode)

    def write(self, content: Any) -> int:
        whole = memoryview(content).cast("B")
        self._calls.reach("write", None, lambda: super(_Raw, self).write(whole[: len(whole) // 2]))
        return super().write(content)
