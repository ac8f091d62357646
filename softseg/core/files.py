"""Files that are written whole or not at all: temporary name, fsync, rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from softseg.core.errors import UserError

if sys.platform != "win32":
    import fcntl

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk without room."""

# of files that softseg reads or writes; a new folder of such a name is a mistake
_ENDINGS = {
    *(".csv", ".gz", ".html", ".jpg", ".json", ".md", ".nii", ".pdf", ".png", ".softseg", ".svg"),
    *(".tex", ".txt", ".yaml", ".yml", ".zip"),
}
_PREFIX, _SUFFIX = ".part-", "~"  # of temporary names
_DAY = 86_400  # seconds

MAX_JSON_BYTES = 50_000_000
"""Far more than the longest JSON file of a run or of an ablation's plan."""


# read once, since reading the umask also sets it, for all threads
_UMASK = os.umask(0o022)
os.umask(_UMASK)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; on success, sync it and rename it to `path`.

    The temporary name is hidden and ends in `~`, so that no pattern for files such as `*.nii.gz`
    matches it, and the file is locked while it is written, so that others can recognize it as a
    leftover if this process is killed. An OSError that names the temporary file, or no file, is
    changed to name `path`.
    """
    try:
        handle, name = tempfile.mkstemp(
            prefix=_PREFIX, suffix=f"-{path.name}{_SUFFIX}", dir=path.parent
        )
        part = Path(name)
        try:
            with _locked(handle):
                yield part
                with part.open("rb") as stream:
                    os.fsync(stream.fileno())
                part.chmod(0o666 & ~_UMASK)  # mkstemp makes it private
                part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        if error.filename is None or Path(error.filename).name.startswith(_PREFIX):
            error.filename = str(path)
        raise


@contextmanager
def _locked(handle: int) -> Iterator[None]:
    """Hold the lock of an open file, where there are such locks, and close it at the end."""
    if sys.platform == "win32":  # where an open file cannot be renamed
        os.close(handle)
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace a file's content in one step; text is written as UTF-8.

    A file name in the text that is not UTF-8 is written byte by byte, as it is on the disk.
    """
    with replacing(path) as part:
        octets = content.encode(errors="surrogateescape") if isinstance(content, str) else content
        part.write_bytes(octets)


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Give an OSError that names no file, such as that of a failed read, the name of this one."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def file_digest(path: Path) -> bytes:
    """Return the SHA-256 of a file's bytes."""
    with naming_file(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def read_json(path: Path) -> Any:
    """Return the content of a JSON file in UTF-8, which somebody else may have written.

    Raises OSError if the file cannot be read, and ValueError if it is not JSON, is larger than
    `MAX_JSON_BYTES`, or is nested so deeply that parsing it would end the process.
    """
    with naming_file(path), path.open("rb") as stream:
        content = stream.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise ValueError(f"it is larger than {MAX_JSON_BYTES:,} bytes")
    try:
        return json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def write_json(path: Path, content: Any) -> None:
    """Replace a JSON file in one step."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def check_new_folder(folder: Path) -> None:
    """Raise UserError for a new folder with the ending of a file, or that cannot be written to."""
    if folder.suffix.lower() in _ENDINGS and not folder.exists():
        raise UserError(
            f"{folder}: files are written to a folder, and this is the name of a file; name a "
            f"folder, such as {folder.with_name(folder.name.partition('.')[0])}"
        )
    check_writable(folder)


def check_writable(folder: Path) -> None:
    """Raise UserError if a folder cannot be created or written to; nothing is left there.

    Called before long work, so that its results are not lost. A file without a name is created and
    closed again: permissions alone say nothing of a read-only disk, or of /proc.
    """
    if "\0" in str(folder):
        raise UserError(f"{str(folder)!r}: a path cannot contain the character NUL")
    nearest = folder
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        place = "" if nearest == folder else f" {nearest}"
        raise UserError(f"{folder}:{place} is a file, not a folder; choose another path")
    try:
        with tempfile.TemporaryFile(prefix=_PREFIX, dir=nearest):
            pass
    except OSError as error:
        remedy = "choose another path"
        if error.errno in (errno.EACCES, errno.EPERM):
            remedy = f"change its permissions, or {remedy}"
        elif error.errno in DISK_FULL:
            remedy = f"free some space, or {remedy}"
        elif error.errno == errno.EROFS:
            remedy += " on another disk"
        place = "" if nearest == folder else f"the folder {nearest.resolve()} "
        raise UserError(
            f"{folder}: {place}cannot be written to ({error.strerror}); {remedy}"
        ) from None


def os_error_message(error: OSError) -> str:
    """Return what a system call reported, with the file, and what a user can do about it."""
    path = Path(os.fsdecode(error.filename)) if error.filename is not None else None
    reason = error.strerror or str(error)
    if path is not None and error.errno in (errno.EEXIST, errno.ENOTDIR):
        files = [part for part in (path, *path.parents) if part.is_file()]
        if files:
            place = "" if files[0] == path else f"{files[0]} "
            reason = f"{place}is a file, not a folder; choose another path"
    elif error.errno == errno.EROFS:
        reason += "; choose a folder on another disk"
    elif error.errno == errno.EIO:
        reason += "; check the disk and its connection, then run the command again"
    return f"{'a file' if path is None else path}: {reason}"


def shared_files(writers: Iterable[tuple[Path, str]], folder: Path) -> list[str]:
    """Return `file: a, b` for each file that several of the (file, writer) pairs would write.

    Names that differ only in case are one file if the file system of `folder` ignores case.
    """
    files: dict[str, tuple[Path, list[str]]] = {}
    fold = ignores_case(folder)
    for path, writer in writers:
        key = str(path).casefold() if fold else str(path)
        files.setdefault(key, (path, []))[1].append(writer)
    return [f"{path}: {', '.join(names)}" for path, names in files.values() if len(names) > 1]


def ignores_case(folder: Path) -> bool:
    """Whether the file system of a folder, which need not exist, treats `A` and `a` as one name."""
    resolved = folder.resolve()
    for path in (resolved, *resolved.parents):
        swapped = path.with_name(path.name.swapcase()) if path.name else path
        if path.exists() and swapped != path:
            return swapped.exists() and swapped.samefile(path)
    return False


def temporary_files(folder: Path, recursive: bool = True) -> list[Path]:
    """Return the temporary files in a folder, or anywhere under it, and leftovers among them."""
    return list(folder.rglob(f"{_PREFIX}*") if recursive else folder.glob(f"{_PREFIX}*"))


def remove_leftovers(temporary: Iterable[Path]) -> None:
    """Delete those of these temporary files that a killed process has left.

    Files that another process is writing stay, as do files that cannot be deleted.
    """
    for path in temporary:
        with suppress(OSError):
            if path.is_symlink() or (path.is_file() and not _is_being_written(path)):
                path.unlink()


def _is_being_written(path: Path) -> bool:
    """Whether a process holds the lock of a file; without locks, whether the file is of today."""
    if sys.platform != "win32":
        try:
            with path.open("rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        except OSError:  # the file system has no locks, or the file belongs to another user
            pass
    return time.time() - path.stat().st_mtime < _DAY


def delete_folder(folder: Path, first: Path, last: Path) -> None:
    """Delete a folder, removing `first` before and `last` after everything else in it.

    Links are deleted, but not their targets.
    """
    if not first.parent.is_symlink():
        first.unlink(missing_ok=True)
    for path in folder.iterdir():
        if path != last:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.rmtree(folder)
