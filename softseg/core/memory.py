"""How much memory the machine has, how much is free, and how much this process has used."""

from __future__ import annotations

import ctypes
import errno
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from softseg.core.errors import UserError

if TYPE_CHECKING:
    import torch

GIB = 2**30

# what libraries write, whose errors have many classes: torch's allocators for CPUs and GPUs, mapped
# files, C++, cuDNN and cuBLAS; torch has its own message where no convolution of cuDNN has enough
# memory to work in (pytorch/pytorch#108645)
_MESSAGES = re.compile(
    r"can't allocate memory|cannot allocate memory|not enough memory|out of memory|bad_alloc"
    r"|ALLOC_FAILED|unable to find an engine|unable to find a valid cudnn algorithm",
    re.IGNORECASE,
)


class OutOfMemoryError(UserError):
    """There is less memory than a configuration needs."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a library's error means that memory ran out: Python's, numpy's, torch's ..."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return not isinstance(error, UserError) and bool(_MESSAGES.search(str(error)))


@contextmanager
def memory_errors(activity: str, advice: str) -> Iterator[None]:
    """Raise OutOfMemoryError if memory runs out: what was being done, and what to change."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"memory ran out while {activity}{_requested(error)}; {advice}, or end other programs"
        ) from error


def _requested(error: BaseException) -> str:
    """Return ` (it needed another 4.0 GiB)` if the error says how much could not be allocated."""
    if match := re.search(r"allocate (\d+) bytes", str(error)):
        return f" (it needed another {int(match[1]) / GIB:.1f} GiB)"
    if match := re.search(r"allocate ([\d.]+ [KMGT]iB)", str(error)):  # numpy and CUDA
        return f" (it needed another {match[1]})"
    return ""


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


def private_peak_bytes() -> int:
    """Return the peak bytes of this process without mapped files, which processes share.

    Where the system does not report the files, with them.
    """
    files = 0
    with suppress(OSError):  # Linux
        status = Path("/proc/self/status").read_text()
        files = 1024 * sum(int(kb) for kb in re.findall(r"Rss(?:File|Shmem):\s*(\d+) kB", status))
    return max(0, host_peak_bytes() - files)


def release_free_memory() -> None:
    """Return freed memory to the system; glibc otherwise keeps it in many small pieces."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)
