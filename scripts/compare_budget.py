"""CPU time of commands, and the length of a training that fits a budget of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from softseg.core.errors import UserError

LIBRARIES = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB_MAXIMUM")
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in LIBRARIES}
KIB_PER_MB = 1024
LAST_LINES = 15


@dataclass(frozen=True)
class Command:
    """A command line, and the environment variables that it needs in addition."""

    words: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


def softseg(*words: str | Path) -> Command:
    """Return the command `softseg` with these arguments."""
    return Command([sys.executable, "-m", "softseg", *map(str, words)])


@dataclass(frozen=True)
class Usage:
    """What a command used, with the processes that it started and waited for."""

    cpu_s: float
    """User and system time, of all threads."""
    wall_s: float
    peak_mb: float
    """Largest resident memory of one process."""


def run_measured(command: Command, log: Path) -> Usage:
    """Run a command on one thread, with its output in `log`.

    Raises UserError with the end of the output for a command that fails.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, **ONE_THREAD, **command.env}
    start = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command.words], stdout=output, stderr=subprocess.STDOUT, env=env
        )
        _, status, used = os.wait4(process.pid, 0)  # unlike wait(), with what it used
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:])
        name = Path(command.words[0]).name
        raise UserError(
            f"{name} ended with exit status {process.returncode}; all of its output is in {log}, "
            f"which ends with:\n{end}"
        )
    peak = used.ru_maxrss / (KIB_PER_MB if sys.platform != "darwin" else KIB_PER_MB**2)
    return Usage(used.ru_utime + used.ru_stime, time.monotonic() - start, peak)


@dataclass(frozen=True)
class Calibration:
    """CPU time of a training, in seconds: `start_s` + `unit_s` for each epoch or step."""

    start_s: float
    unit_s: float

    @classmethod
    def of(cls, short: tuple[int, float], long: tuple[int, float]) -> Calibration:
        """Return the line through two trainings, each a length and its CPU time in seconds."""
        unit_s = (long[1] - short[1]) / (long[0] - short[0])
        return cls(max(0.0, short[1] - short[0] * unit_s), unit_s)

    def units(self, minutes: float) -> int:
        """Return how many epochs or steps fit into a budget, at least one."""
        return max(1, int((60 * minutes - self.start_s) / self.unit_s))

    def minutes(self, units: int) -> float:
        """Return the CPU time that a training of this length is expected to take."""
        return (self.start_s + units * self.unit_s) / 60
