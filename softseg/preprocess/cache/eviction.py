"""The cache of preprocessed volumes stays below a limit: what was used longest ago goes first.

The last use of an entry is its modification time, which `touch` renews: access times are not kept
by every file system (noatime), and whatever reads a file changes them. A process says that it
prepares its data (`at_work`), and nothing is deleted meanwhile, so that no file goes while another
process maps it. Only what has an entry's name and an entry's header is ever deleted: a folder may
hold other things.
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

_NAMED = r"[^.].*-[0-9a-f]{32}"  # <subject>-<key>
_ENTRY = re.compile(rf"{_NAMED}\.safetensors")
_PART = re.compile(rf"\.part-[a-z0-9_]{{8}}-{_NAMED}\.safetensors")
_LOCK = re.compile(rf"{_NAMED}\.lock")
_AT_WORK = re.compile(r"\.preparing-[0-9a-f]{32}\.lock")
_MINUTE, _DAY = 60, 86_400


@dataclass(frozen=True, order=True)
class _Entry:
    used: float  # seconds since 1970
    size: int
    path: Path


def touch(entry: Path) -> None:
    """Note that an entry is used now; of a cache that cannot be written to, nothing is noted."""
    with suppress(OSError):
        os.utime(entry)


@contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Meanwhile no other process deletes entries; the system ends it however this one ends."""
    marker = folder / f".preparing-{uuid.uuid4().hex}.lock"
    lock = FileLock(marker, timeout=_MINUTE)
    with suppress(OSError):  # a cache that can only be read is used as it is
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):
            marker.unlink(missing_ok=True)


def evict(folder: Path, limit: float, kept: Collection[Path]) -> None:
    """Delete entries until they take at most `limit` bytes, those used longest ago first.

    The entries in `kept` stay, even where they take more. What killed processes left behind goes
    after a day. Does nothing while another process prepares; what cannot be deleted (Windows keeps
    mapped files, a folder may be another user's) stays.
    """
    if not folder.is_dir() or _is_anyone_at_work(folder):
        return
    _sweep(folder)
    entries = _entries(folder)
    if _size(entries) <= limit:
        return
    ours = sorted(one for one in entries if _is_ours(one.path))
    excess, names = _size(ours) - limit, {path.name for path in kept}
    for one in ours:
        if excess <= 0:
            return
        if one.path.name not in names and _delete(one):
            excess -= one.size


def _entries(folder: Path) -> list[_Entry]:
    found = (_look(path) for path in folder.iterdir() if _ENTRY.fullmatch(path.name))
    return [one for one in found if one is not None]


def _look(path: Path) -> _Entry | None:
    """None for what is gone meanwhile, and for a link or a folder of such a name."""
    try:
        facts = path.lstat()
    except OSError:
        return None
    return _Entry(facts.st_mtime, facts.st_size, path) if stat.S_ISREG(facts.st_mode) else None


def _size(entries: Collection[_Entry]) -> int:
    return sum(one.size for one in entries)


def _is_ours(path: Path) -> bool:
    """Whether the cache wrote it: others keep files of such names, too."""
    try:
        with safe_open(path, framework="pt") as entry:
            return "softseg" in (entry.metadata() or {})
    except (OSError, SafetensorError):
        return False


def _delete(entry: _Entry) -> bool:
    """Delete it unless it was used meanwhile; whether it is gone."""
    try:
        if _look(entry.path) == entry:
            entry.path.unlink()
    except OSError:
        return False
    return not entry.path.exists()


def _is_anyone_at_work(folder: Path) -> bool:
    markers = [path for path in folder.iterdir() if _AT_WORK.fullmatch(path.name)]
    return any(_age(one) < _MINUTE or not _remove_lock(one) for one in markers)


def _sweep(folder: Path) -> None:
    """Delete what processes that were killed left, a day later."""
    for path in folder.iterdir():
        if _age(path) < _DAY:
            continue
        if _PART.fullmatch(path.name):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        elif _LOCK.fullmatch(path.name):
            _remove_lock(path)


def _age(path: Path) -> float:
    """Seconds since it was written; 0 for what is gone."""
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0.0


def _remove_lock(path: Path) -> bool:
    """Delete a lock that nobody holds; whether nobody does."""
    try:
        with FileLock(path, timeout=0):
            path.unlink(missing_ok=True)
    except Timeout:
        return False
    except OSError:  # another user's, or one that Windows keeps
        return _age(path) > _DAY
    return True
