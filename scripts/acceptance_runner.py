"""Runs the checks of `scripts/gpu_acceptance` one after the other and writes their results."""

from __future__ import annotations

import gc
import json
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from acceptance_setup import Setup

from softseg.core.device import synchronize
from softseg.core.files import write_atomically

DEVICE_LOST = 3
"""Exit status if the device reports an error for everything that follows."""
_LONGEST_LINE = 400
_EXTRA_SECONDS = 60.0  # before a check counts as hanging


@dataclass(frozen=True)
class Outcome:
    """What a check measured, and whether that is as promised; None: a measurement only."""

    values: dict[str, Any]
    passed: bool | None = None


@dataclass(frozen=True)
class Check:
    """One check. `--only` selects it by its name or by the part of the name before `/`."""

    name: str
    run: Callable[[Setup], Outcome]
    seconds: float = 10.0  # about how long it takes on a GPU; it is skipped if less is left
    needs_gpu: bool = False

    def is_selected(self, names: Sequence[str] | None) -> bool:
        """Whether it is one of the selected checks; None selects all."""
        return names is None or self.name in names or self.name.split("/")[0] in names


@dataclass
class Runner:
    """Runs checks within a time budget; the results file is written after each check."""

    setup: Setup
    file: Path | None
    seconds: float
    results: dict[str, Any] = field(default_factory=dict)  # the content of the file

    def __post_init__(self) -> None:
        self.checks: dict[str, dict[str, Any]] = self.results.setdefault("checks", {})
        self._spent_before = sum(check.get("seconds", 0.0) for check in self.checks.values())
        self._start = time.perf_counter()

    def run_all(self, checks: Sequence[Check]) -> int:
        """Run the checks, except those that an earlier process ran.

        Returns 0, 1 if a check failed, or `DEVICE_LOST`.
        """
        earlier = {name for name, one in self.checks.items() if one["status"] != "skipped"}
        for check in checks:
            if check.name in earlier:
                continue
            self._run(check)
            if self.setup.gpu and not _recovered(torch.device(self.setup.device)):
                return DEVICE_LOST
        failed = [name for name, check in self.checks.items() if check["status"] == "FAIL"]
        print(f"{len(self.checks)} checks, {len(failed)} failed", *failed, sep="\n  ")
        return 1 if failed else 0

    def _run(self, check: Check) -> None:
        """Run or skip one check and record its result."""
        left = self.seconds - self._spent_before - (time.perf_counter() - self._start)
        if check.needs_gpu and not self.setup.gpu:
            self._record(check, {"status": "skipped", "reason": "needs a GPU"})
        elif check.seconds > left:
            self._record(check, {"status": "skipped", "reason": f"only {left:.0f} s are left"})
        else:
            # stays in the file if the check ends the process
            self._write(check, {"status": "FAIL", "reason": "the process ended during this check"})
            self._record(check, self._result(check))

    def _result(self, check: Check) -> dict[str, Any]:
        start = time.perf_counter()
        try:
            with _time_limit(_EXTRA_SECONDS + 3 * check.seconds):
                outcome = check.run(self.setup)
            status = {True: "ok", False: "FAIL", None: "info"}[outcome.passed]
            result: dict[str, Any] = {"status": status, "values": outcome.values}
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            result = {"status": "FAIL", "reason": reason, "traceback": traceback.format_exc()}
        return result | {"seconds": round(time.perf_counter() - start, 1)}

    def _record(self, check: Check, result: dict[str, Any]) -> None:
        """Write a result to the file and print its line."""
        self._write(check, result)
        took = f" [{result['seconds']:.1f} s]" if "seconds" in result else ""
        text = result.get("reason") or _one_line(result["values"])
        print(f"{result['status']:7} {check.name}{took}: {text}"[:_LONGEST_LINE], flush=True)

    def _write(self, check: Check, result: dict[str, Any]) -> None:
        self.checks[check.name] = result
        self.setup.values = {name: one.get("values", {}) for name, one in self.checks.items()}
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.file, json.dumps(self.results, indent=1, default=str) + "\n")


def _one_line(values: dict[str, Any]) -> str:
    """The values of a check as `name value, name value`; numbers have 4 digits."""

    def text(value: Any) -> str:
        if isinstance(value, dict):
            return f"({_one_line(value)})"
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{name} {text(value)}" for name, value in values.items())


def _recovered(device: torch.device) -> bool:
    """Undo what a check may have left set on the device; False if the device no longer works."""
    gc.collect()
    try:
        torch.cuda.set_sync_debug_mode("default")
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        synchronize(device)
        torch.cuda.empty_cache()
    except RuntimeError:  # such as an illegal memory access, after which every call fails
        return False
    return True


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the context after some seconds, where the system has such a timer."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise TimeoutError(f"took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
