"""The cache of preprocessed volumes: entries under a key of file contents and configuration.

The cache stays below a limit: the least recently used entries are deleted first. The last use of an
entry is its modification time, which `mark_used` renews: not every file system keeps access times
(noatime), and any program that reads a file changes them. While a process prepares its data
(`eviction_suspended`), nothing is deleted, so that no file disappears before another process has
mapped it. Only a file with an entry's name and an entry's header is ever deleted: the folder may
hold other files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
import uuid
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import Timeout
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from softseg.core.errors import TrainingError, UserError
from softseg.core.files import DISK_FULL, file_digest, os_error_message, write_atomically
from softseg.core.locks import NoLocksError, file_lock
from softseg.core.memory import is_out_of_memory
from softseg.data.nifti.grid import Grid
from softseg.preprocess.geometry import Geometry
from softseg.preprocess.preprocess import PreprocessedVolume, VolumeStatistics

# Raise when preprocessing computes other values: entries of earlier versions are then ignored.
_VERSION = 6
TENSORS = ("image", "target", "fill", "keep", "raters", "maps", "ignore", "truth", "weight")
_STATISTICS = TypeAdapter(VolumeStatistics)

_STEM = r"[^.].*-[0-9a-f]{32}"  # <subject>-<key>
_ENTRY = re.compile(rf"{_STEM}\.safetensors")
_PART = re.compile(rf"\.part-[a-z0-9_]{{8}}-{_STEM}\.safetensors~?")
_LOCK = re.compile(rf"{_STEM}\.lock")
_PREPARING = re.compile(r"\.preparing-[0-9a-f]{32}\.lock")
_MINUTE, _DAY = 60, 86_400


def entry_key(files: Iterable[Path], recipe: Any) -> str:
    """Return a digest of the files' bytes and of everything else that the result depends on."""
    digest = hashlib.sha256(json.dumps([_VERSION, recipe], sort_keys=True).encode())
    for path in files:
        digest.update(file_digest(path))
    return digest.hexdigest()[:32]


def read_or_create(path: Path, create: Callable[[], PreprocessedVolume]) -> PreprocessedVolume:
    """Return the volume of an entry, which is created and written first if there is none.

    Only one process creates an entry; others wait for it. Raises CacheError where the entry cannot
    be written or read back.
    """
    volume = read_entry(path)
    if volume is None:
        lock = path.with_suffix(".lock")
        with ExitStack() as locked:
            with cache_errors():
                path.parent.mkdir(parents=True, exist_ok=True)
                locked.enter_context(file_lock(lock))
            if read_entry(path) is None:
                write_entry(path, create())
            with suppress(OSError):  # Windows keeps open files; a waiting process has the entry
                lock.unlink()
        volume = read_entry(path)
    if volume is None:
        raise CacheError(f"{path}: cannot be read back after writing; check the disk")
    mark_used(path)
    return volume


def write_entry(path: Path, volume: PreprocessedVolume) -> None:
    """Write one entry, which gets its name only when it is complete.

    Raises CacheError where it cannot be written, and TrainingError on a full disk.
    """
    tensors = {name: getattr(volume, name) for name in TENSORS}
    metadata = volume_metadata(volume.geometry, volume.statistics)
    text = json.dumps(metadata | {"checksum": _checksum(metadata, tensors)})
    with cache_errors():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save(tensors, metadata={"softseg": text}))


class CacheError(UserError):
    """The folder of the cache cannot be used; unlike a bad file, it concerns all subjects."""


@contextmanager
def cache_errors() -> Iterator[None]:
    """Raise CacheError for errors of the disk, and TrainingError if it is full."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise TrainingError(
                f"{error.filename}: {error.strerror}; make room, or move the cache (dataset.cache)"
            ) from error
        raise CacheError(
            f"dataset.cache: {os_error_message(error)} (dataset.cache: null keeps no files)"
        ) from error
    except NoLocksError as error:
        raise CacheError(f"dataset.cache: {error}") from error


def read_entry(path: Path) -> PreprocessedVolume | None:
    """Read one entry (memory-mapped); return None if it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as entry:
            metadata = json.loads(entry.metadata()["softseg"])
            tensors = {name: entry.get_tensor(name) for name in TENSORS}
        if metadata.pop("checksum") != _checksum(metadata, tensors):
            return None
        geometry, statistics = parse_volume_metadata(metadata)
    except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        if is_out_of_memory(error):  # mapping takes addresses
            raise
        return None
    return PreprocessedVolume(**tensors, geometry=geometry, statistics=statistics)


def _checksum(metadata: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """Return a checksum of all that an entry holds, because safetensors has none."""
    summary = []
    for name, tensor in tensors.items():
        octets = tensor.contiguous().numpy().reshape(-1).view(np.uint8)
        # 64-bit words, added up: near the speed of memory, a third of a CRC's time
        words = octets[: octets.size // 8 * 8].view(np.uint64)
        total = int(words.sum()) + zlib.crc32(octets[words.nbytes :].data)
        summary.append((name, tensor.dtype, tuple(tensor.shape), total))
    return f"{zlib.crc32(repr((json.dumps(metadata), summary)).encode()):08x}"


def volume_metadata(geometry: Geometry, statistics: VolumeStatistics) -> dict[str, Any]:
    """Return a volume's geometry and statistics as JSON values."""
    # repr of a float reads back as the same float, so json keeps the affines exactly
    grids = [
        {"shape": grid.shape, "affine": grid.affine.tolist()}
        for grid in (geometry.native, geometry.network)
    ]
    return {"grids": grids, "statistics": asdict(statistics)}


def parse_volume_metadata(metadata: dict[str, Any]) -> tuple[Geometry, VolumeStatistics]:
    """Return the geometry and statistics of `volume_metadata`, its inverse.

    Raises KeyError, TypeError or ValueError for anything else.
    """
    grids = []
    for grid in metadata["grids"]:
        x, y, z = grid["shape"]
        grids.append(Grid((x, y, z), np.array(grid["affine"], dtype=np.float64)))
    native, network = grids
    return Geometry(native, network), _STATISTICS.validate_python(metadata["statistics"])


def mark_used(entry: Path) -> None:
    """Note that an entry is used now, unless the cache cannot be written to."""
    with suppress(OSError):
        os.utime(entry)


@dataclass(frozen=True, order=True)
class _Entry:
    used: float  # seconds since 1970
    size: int
    path: Path


@contextmanager
def eviction_suspended(folder: Path) -> Iterator[None]:
    """Keep other processes from deleting entries; a killed process suspends nothing."""
    marker = folder / f".preparing-{uuid.uuid4().hex}.lock"
    with ExitStack() as locked:
        with cache_errors(), suppress(OSError):  # a read-only cache is used as it is
            folder.mkdir(parents=True, exist_ok=True)
            locked.enter_context(file_lock(marker, _MINUTE))
        try:
            yield
        finally:
            locked.close()
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
        if entry.path.name in kept_names:
            continue
        with suppress(OSError):
            if _stat(entry.path) == entry:  # not used since
                entry.path.unlink()
        if not entry.path.exists():
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
        with file_lock(path, 0):
            path.unlink(missing_ok=True)
    except Timeout:
        return False
    except OSError:  # another user's, or one that Windows keeps
        return _age(path) > _DAY
    return True
