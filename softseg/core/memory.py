"""How much memory the machine has, how much is free, and how much this process has used."""

from __future__ import annotations

import ctypes
import math
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

GIB = 2**30


def machine_memory_bytes() -> float:
    """Return the machine's memory in bytes; infinity where the system does not report it."""
    return _pages_in_bytes("SC_PHYS_PAGES", math.inf)


def half_of_memory_gb() -> float:
    """Return half of the machine's memory in GiB; infinity where the system does not report it."""
    return machine_memory_bytes() / 2 / GIB


def free_memory_bytes() -> int:
    """Return the machine's free memory in bytes; 4 GiB where the system does not report it."""
    return int(_pages_in_bytes("SC_AVPHYS_PAGES", 4 * GIB))


def _pages_in_bytes(name: str, unknown: float) -> float:
    """Return the number of memory pages that sysconf calls `name`, in bytes; else `unknown`."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf(name)
    except (AttributeError, ValueError, OSError):  # Windows; macOS has fewer names
        return unknown


def peak_memory_bytes(device: torch.device) -> dict[str, int]:
    """Return the peak bytes of this process (`host`) and of a CUDA device (`device`).

    `host` is 0 where the system does not report it.
    """
    peaks = {"host": host_peak_bytes()}
    if device.type == "cuda":
        import torch

        peaks["device"] = torch.cuda.max_memory_allocated(device)
    return peaks


def host_peak_bytes() -> int:
    """Return the peak bytes of this process; 0 where the system does not report them."""
    with suppress(OSError):  # Linux, whose getrusage also counts the peak of the parent process
        if match := re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text()):
            return 1024 * int(match[1])
    try:
        import resource  # not on Windows
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts bytes, Linux KiB


def release_free_memory() -> None:
    """Return freed memory to the system; glibc otherwise keeps it in many small pieces."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)
