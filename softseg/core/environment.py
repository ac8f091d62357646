"""One line about what a command runs with: versions and device, for a report of a problem."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import torch

from softseg.core.device import available_devices
from softseg.core.version import __version__


def describe_environment() -> str:
    """Return `softseg 0.1.0, torch 2.13.0+cpu, Python 3.11.7, device cpu (AMD EPYC, 2 threads)`.

    The device is the one that `device: auto` selects; further ones follow it.
    """
    device, *others = available_devices()
    parts = [f"softseg {__version__}", f"torch {torch.__version__}"]
    parts += [f"Python {platform.python_version()}", f"device {device} ({_hardware(device)})"]
    return ", ".join(parts) + (f"; also {', '.join(others)}" if others else "")


def _hardware(device: str) -> str:
    """Return what a device is: the name of a GPU, or that of the CPU and its number of threads."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_cpu_name()}, {threads} thread{'' if threads == 1 else 's'}"


def _cpu_name() -> str:
    """Return the name of the CPU, which Python itself does not know on Linux."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()
