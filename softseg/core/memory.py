"""How much memory this process has used at most, and how much it may use."""

from __future__ import annotations

import ctypes
import math
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

import torch


def peak_memory_bytes(device: torch.device) -> dict[str, int]:
    """Peak bytes of the process (`host`; 0 where the system does not tell) and of a CUDA device."""
    peaks = {"host": host_peak_bytes()}
    if device.type == "cuda":
        peaks["device"] = torch.cuda.max_memory_allocated(device)
    return peaks


def host_peak_bytes() -> int:
    """Peak bytes of this process; 0 where the system does not tell."""
    with suppress(OSError):  # Linux; its getrusage counts the peak of whoever started it, too
        if told := re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text()):
            return 1024 * int(told[1])
    try:
        import resource  # not on Windows
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts bytes, Linux KiB


def half_of_memory_gb() -> float:
    """Half of the machine's memory in GiB; infinity where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**31
    except (AttributeError, ValueError, OSError):  # Windows
        return math.inf


def give_back_memory() -> None:
    """Return to the system what was freed, which glibc otherwise keeps in many small pieces."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)
