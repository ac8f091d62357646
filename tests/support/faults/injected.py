"""Faults inside a process of softseg: its n-th disk operation fails, or kills it."""

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

SURVIVED = ("SIGTERM", "SIGINT", "SIGSTOP")  # the call is then done normally
SPACE = ("create", "write", "mkdir")  # what fails on a full disk
CALLS = (*SPACE, "fsync", "rename", "remove")
_OF_OS = {"fsync": "fsync", "replace": "rename", "rename": "rename", "mkdir": "mkdir",
          "unlink": "remove", "remove": "remove", "rmdir": "remove"}  # fmt: skip
_OPEN = io.open


@dataclass(frozen=True)
class At:
    """The `number`-th of certain calls, from 1, goes wrong.

    `how` is a signal that the process gets at this call, or the error that the call raises. If
    `lasting`, all later calls fail, too: a full disk stays full. A write that fails, or during
    which the process is killed, is half done.
    """

    calls: tuple[str, ...]
    number: int
    how: str
    lasting: bool = False


@dataclass(frozen=True)
class FileSize:
    """No file may grow beyond `limit` bytes; enforced by the kernel, for C and C++ code too."""

    limit: int


Fault = At | FileSize | None


def arm(fault: Fault, folder: Path, report: Callable[[], object]) -> Counter[str]:
    """Inject a fault into this process's operations below a folder; return the count of calls.

    `report` is called when the fault strikes.
    """
    if isinstance(fault, FileSize):
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.limit, fault.limit))
        fault = None
    calls = _Calls(fault, str(folder.resolve()), report)
    for name, call in _OF_OS.items():
        setattr(os, name, calls.counted(getattr(os, name), call))
    os.open = calls.creating(os.open)  # type: ignore[assignment]
    io.open = builtins.open = calls.opening  # type: ignore[assignment]
    return calls.counts


class _Calls:
    """Counts calls, and lets one of them go wrong."""

    def __init__(self, fault: At | None, folder: str, report: Callable[[], object]) -> None:
        self.fault, self.folder, self.report = fault, folder, report
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reach(self, call: str, path: object, half: Callable[[], object] = lambda: None) -> None:
        """Count a call; if it is the faulty one, do half of it and raise or signal the process."""
        with self._lock:
            self.counts[call] += 1
            struck = self._struck(call)
        if not struck or self.fault is None:
            return
        if self.fault.how not in SURVIVED:
            half()
        self.report()
        if self.fault.how.startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[self.fault.how])
        else:
            number = getattr(errno, self.fault.how)
            name = (os.fspath(path),) if isinstance(path, str | os.PathLike) else ()
            raise OSError(number, os.strerror(number), *name)

    def _struck(self, call: str) -> bool:
        if self.fault is None or call not in self.fault.calls:
            return False
        number = sum(self.counts[name] for name in self.fault.calls)
        return number == self.fault.number or (self.fault.lasting and number > self.fault.number)

    def _concerns(self, path: object) -> bool:
        """Whether a path is in the folder; a descriptor, or a name relative to one, counts."""
        name = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
        return not name or os.path.abspath(name).startswith(self.folder)  # noqa: PTH100

    def counted(self, function: Callable[..., Any], call: str) -> Callable[..., Any]:
        """Wrap a function of `os` so that its calls are counted."""

        @wraps(function)
        def wrapper(path: Any, *args: Any, **kwargs: Any) -> Any:
            if self._concerns(path):
                self.reach(call, path)
            return function(path, *args, **kwargs)

        return wrapper

    def creating(self, function: Callable[..., int]) -> Callable[..., int]:
        """Wrap os.open so that the creation of files is counted."""

        @wraps(function)
        def wrapper(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if flags & os.O_CREAT:
                self._count_creation(path)
            return function(path, flags, *args, **kwargs)

        return wrapper

    def opening(
        self, file: Any, mode: str = "r", buffering: int = -1, *args: Any, **kwargs: Any
    ) -> Any:
        """Replace `open`: writes to the files are counted."""
        unnamed = kwargs.get("opener") is not None  # as of tempfile, in a folder
        written = set("wxa+") & set(mode) and not unnamed
        if isinstance(file, int) or not written or not self._concerns(file):
            return _OPEN(file, mode, buffering, *args, **kwargs)
        self._count_creation(file)
        raw = _Raw(self, file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *args, **kwargs)

    def _count_creation(self, path: Any) -> None:
        if self._concerns(path) and not os.path.exists(path):  # noqa: PTH110
            self.reach("create", path)


class _Raw(io.FileIO):
    """A file whose writes are counted."""

    def __init__(self, calls: _Calls, file: Any, mode: str) -> None:
        self._calls = calls
        super().__init__(file, mode)

    def write(self, content: Any) -> int:
        octets = memoryview(content).cast("B")
        half = octets[: len(octets) // 2]
        self._calls.reach("write", None, lambda: super(_Raw, self).write(half))
        return super().write(content)
