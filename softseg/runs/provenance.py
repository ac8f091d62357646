"""Versions, machine and commit of a run: what a reader needs to repeat it or to distrust it."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from softseg.runs.folder import Run, timestamp

_PACKAGES = ("softseg", "torch", "numpy", "scipy", "nibabel", "torchio", "pydantic")


def start_metadata(run: Run, epoch: int, changes: Sequence[str] = ()) -> dict[str, Any]:
    """Return what run.json records when training starts, or resumes after `epoch`.

    `changes` are the keys of the configuration with their old and new values.
    """
    if epoch == 0:
        return {"started": timestamp(), **provenance()}
    resumed = {"at": timestamp(), "after_epoch": epoch, **provenance()}
    if changes:
        resumed["changed"] = list(changes)
    return {"resumed": [*run.metadata().get("resumed", []), resumed]}


def changed_versions(run: Run) -> list[str]:
    """Return `torch 2.12 -> 2.13` for each package that has changed since the run started."""
    recorded, current = run.metadata().get("versions", {}), _versions()
    return [
        f"{package} {version} -> {current.get(package)}"
        for package, version in recorded.items()
        if current.get(package) != version
    ]


def provenance() -> dict[str, Any]:
    """Return the versions, machine, commit and command of this process."""
    return {
        "versions": _versions(),
        "platform": platform.platform(),
        "git_commit": _git_commit(),
        "command": sys.argv,
    }


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
    command = ["git", "-C", str(source), "describe", "--always", "--dirty"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
