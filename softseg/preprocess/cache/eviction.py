"""Keep the cache of preprocessed volumes below a limit: the least recently used entries go first.

The last use of an entry is its modification time, which `mark_used` renews: not every file system
keeps access times (noatime), and any program that reads a file changes them. While a process
prepares its data (`eviction_suspended`), nothing is deleted, so that no file disappears before
another process has mapped it. Only a file with an entry's name and an entry's header is ever
deleted: the folder may hold other files.
"""

from __future__ import annotations

import os
import re
import stat
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open

_STEM = r"[^.].*-[0-9a-f]{32}"  # <subject>-<key>
_ENTRY = re.compile(rf"{_STEM}\.safetensors")
_PART = re.compile(rf"\.part-[a-z0-9_]{{8}}-{_STEM}\.safetensors")
_LOCK = re.compile(rf"{_STEM}\.lock")
_PREPARING = re.compile(r"\.preparing-[0-9a-f]{32}\.lock")
_MINUTE, _DAY = 60, 86_400


@dataclass(frozen=True, order=True)
class _Entry:
    used: float  # seconds since 1970
    size: int
    path: Path


def mark_used(entry: Path) -> None:
    """Note that an entry is used now, unless the cache cannot be written to."""
    with suppress(OSError):
        os.utime(entry)


@contextmanager
def eviction_suspended(folder: Path) -> Iterator[None]:
    """Keep other processes from deleting entries; a killed process suspends nothing."""
    marker = folder / f".preparing-{uuid.uuid4().hex}.lock"
    lock = FileLock(marker, timeout=_MINUTE)
    with suppress(OSError):  # a read-only cache is used as it is
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):
            marker.unlink(missing_ok=True)


def evict(folder: Path, limit: float, kept: Collection[Path]) -> None:
    """Delete the least recently used entries until all take at most `limit` bytes.

    The entries in `kept` stay, even if they take more. Leftovers of killed processes are deleted
    after a day. Does nothing while another process prepares its data. Files that cannot be deleted
    stay (Windows keeps mapped files; a folder may belong to another user).
    """
    if not folder.is_dir():
        return
    markers = [path for path in folder.iterdir() if _PREPARING.fullmatch(path.name)]
    if any(_age(marker) < _MINUTE or not _remove_lock(marker) for marker in markers):
        return
    _delete_leftovers(folder)
    paths = [path for path in folder.iterdir() if _ENTRY.fullmatch(path.name)]
    entries = [entry for entry in map(_stat, paths) if entry is not None]
    if sum(entry.size for entry in entries) <= limit:
        return
    ours = sorted(entry for entry in entries if _is_ours(entry.path))
    excess = sum(entry.size for entry in ours) - limit
    kept_names = {path.name for path in kept}
    for entry in ours:
        if excess <= 0:
            return
        if entry.path.name not in kept_names and _delete(entry):
            excess -= entry.size


def _stat(path: Path) -> _Entry | None:
    """Return an entry's last use and size; None for a deleted file, a link or a folder."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return _Entry(status.st_mtime, status.st_size, path) if stat.S_ISREG(status.st_mode) else None


def _is_ours(path: Path) -> bool:
    """Return whether the cache wrote this file; others may use such names, too."""
    try:
        with safe_open(path, framework="pt") as entry:
            return "softseg" in (entry.metadata() or {})
    except (OSError, SafetensorError):
        return False


def _delete(entry: _Entry) -> bool:
    """Delete an entry unless it was used since; return whether it is gone."""
    try:
        if _stat(entry.path) == entry:
            entry.path.unlink()
    except OSError:
        return False
    return not entry.path.exists()


def _delete_leftovers(folder: Path) -> None:
    """Delete the files that killed processes left, a day later."""
    for path in folder.iterdir():
        if _age(path) < _DAY:
            continue
        if _PART.fullmatch(path.name):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        elif _LOCK.fullmatch(path.name):
            _remove_lock(path)


def _age(path: Path) -> float:
    """Return the seconds since a file was written; 0 for a deleted one."""
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0.0


def _remove_lock(path: Path) -> bool:
    """Delete a lock unless a process holds it; return whether no process does."""
    try:
        with FileLock(path, timeout=0):
            path.unlink(missing_ok=True)
    except Timeout:
        return False
    except OSError:  # another user's, or one that Windows keeps
        return _age(path) > _DAY
    return True
