"""With what a run was made: what a reader needs to repeat it or to distrust it."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from softseg.runs.folder import Run, timestamp

_PACKAGES = ("softseg", "torch", "numpy", "scipy", "nibabel", "torchio", "pydantic")


def start_metadata(run: Run, epoch: int) -> dict[str, Any]:
    """For run.json: when and with what a training began, or that it goes on after an epoch."""
    if epoch == 0:
        return {"started": timestamp(), **provenance()}
    resumed = {"at": timestamp(), "after_epoch": epoch, **provenance()}
    return {"resumed": [*run.metadata().get("resumed", []), resumed]}


def changed_versions(run: Run) -> list[str]:
    """`torch 2.12 -> 2.13`: what is of another version than when the run began."""
    began, current = run.metadata().get("versions", {}), _versions()
    return [
        f"{name} {version} -> {current.get(name)}"
        for name, version in began.items()
        if current.get(name) != version
    ]


def provenance() -> dict[str, Any]:
    """Versions, machine and commit: what a reader needs to repeat or to distrust a run."""
    return {
        "versions": _versions(),
        "platform": platform.platform(),
        "git_commit": _git_commit(),
        "command": sys.argv,
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _git_commit() -> str | None:
    """The commit of the source tree softseg runs from; None when it is installed from a package."""
    source = Path(__file__).parent.parent
    if not (source / ".git").exists():
        return None
    command = ["git", "-C", str(source), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
