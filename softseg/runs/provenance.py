"""Versions, machine and commit of a run: what a reader needs to repeat it or to distrust it."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from softseg.runs.folder import Run, timestamp

_PACKAGES = ("softseg", "torch", "numpy", "scipy", "nibabel", "torchio", "pydantic")


def start_metadata(
    run: Run, epoch: int, device: torch.device, changes: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what run.json records when training on a device starts, or resumes after `epoch`.

    `changes` are the keys of the configuration with their old and new values.
    """
    if epoch == 0:
        return {"started": timestamp(), **provenance(device)}
    resumed = {"at": timestamp(), "after_epoch": epoch, **provenance(device)}
    if changes:
        resumed["changed"] = list(changes)
    return {"resumed": [*run.metadata().get("resumed", []), resumed]}


def changed_versions(run: Run, device: torch.device) -> list[str]:
    """Return `torch 2.12 -> 2.13` for each package that has changed since the run started.

    Likewise for the processor, the GPU, its driver, CUDA and cuDNN, where both are known; the
    change to another kind of device is one of the configuration.
    """
    metadata = run.metadata()
    recorded, current = metadata.get("versions", {}), _versions()
    changed = [
        f"{package} {version} -> {current.get(package)}"
        for package, version in recorded.items()
        if current.get(package) != version
    ]
    recorded, current = metadata.get("hardware", {}), describe_hardware(device)
    return changed + [
        f"{part} {recorded[part]} -> {name}"
        for part, name in current.items()
        if recorded.get(part, name) != name
    ]


def provenance(device: torch.device) -> dict[str, Any]:
    """Return the versions, machine, commit and command of this process."""
    return {
        "versions": _versions(),
        "hardware": describe_hardware(device),
        "platform": platform.platform(),
        "git_commit": _git_commit(),
        "command": sys.argv,
    }


def describe_hardware(device: torch.device) -> dict[str, str]:
    """Return the processor, and for a CUDA device the GPU, its driver, CUDA and cuDNN.

    The processor comes with the instructions that torch uses (AVX2, AVX512), on which the last bits
    of results depend. What the system does not report is left out.
    """
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.processor()
    hardware = {"CPU": f"{name or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"}
    if device.type == "cuda":
        query = ("--query-gpu=driver_version", "--format=csv,noheader")
        parts = {
            "GPU": torch.cuda.get_device_name(device),
            "driver": _first_line("nvidia-smi", *query),
            "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),
        }
        hardware |= {part: str(value) for part, value in parts.items() if value}
    return hardware


def _versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _git_commit() -> str | None:
    """Return the commit of the source tree that softseg runs from; None if it is installed."""
    source = Path(__file__).parents[2]
    if not (source / ".git").exists():
        return None
    return _first_line("git", "-C", str(source), "describe", "--always", "--dirty")


def _first_line(*command: str) -> str | None:
    """Return the first line that a command prints; None if it fails or does not exist."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = result.stdout.split("\n") if result.returncode == 0 else []
    return lines[0].strip() or None if lines else None
