"""What the system lets this process use: processors and memory, also in a container or a job."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from softseg.core.memory import free_memory_bytes

_ROOT = Path("/")


def available_cores(root: Path = _ROOT) -> int:
    """Return how many processors this process may use, at least 1.

    A job of a cluster may have a part of a machine, and a container a share of its time.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit: float = cores or 1
    for group in _control_groups(root):
        if match := re.match(r"(\d+) (\d+)", _read(group / "cpu.max")):
            limit = min(limit, int(match[1]) / int(match[2]))
    return max(1, int(limit))


def available_memory_bytes(root: Path = _ROOT) -> int:
    """Return how much memory new processes can take: free, or used for copies of files.

    Where the system does not report it, `free_memory_bytes`.
    """
    match = re.search(r"MemAvailable:\s*(\d+) kB", _read(root / "proc/meminfo"))  # Linux
    available: float = 1024 * int(match[1]) if match else free_memory_bytes()
    for group in _control_groups(root):
        limit, used = _read(group / "memory.max"), _read(group / "memory.current")
        if limit.strip().isdecimal() and used.strip().isdecimal():
            files = re.search(r"^inactive_file (\d+)", _read(group / "memory.stat"), re.MULTILINE)
            in_use = int(used) - (int(files[1]) if files else 0)
            available = min(available, int(limit) - in_use)
    return max(0, math.floor(available))


def _control_groups(root: Path) -> Iterator[Path]:
    """The folders of this process's control group (Linux, version 2) and of those around it."""
    match = re.search(r"^0::/(.*)$", _read(root / "proc/self/cgroup"), re.MULTILINE)
    path = Path(match[1] if match else "")
    for group in (path, *path.parents):
        yield root / "sys/fs/cgroup" / group


def _read(path: Path) -> str:
    """The content of a file; nothing if there is none."""
    with suppress(OSError):
        return path.read_text()
    return ""
