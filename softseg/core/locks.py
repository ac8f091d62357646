"""Locks between processes, on files next to what they protect."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from softseg.core.errors import UserError

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)


class NoLocksError(UserError):
    """The file system of a lock file does not support locks."""


def check_locks(folder: Path) -> None:
    """Raise NoLocksError if the file system of a folder has no locks."""
    with (
        tempfile.NamedTemporaryFile(prefix=".part-", dir=folder) as probe,
        file_lock(Path(probe.name)),
    ):
        pass


@contextmanager
def file_lock(path: Path, timeout: float = -1) -> Iterator[None]:
    """Hold the lock of a file; the system releases it however this process ends. The file stays.

    Raises filelock.Timeout if another process still holds it after `timeout` seconds (-1: wait
    without end), NoLocksError where the file system has no locks, and OSError where the file cannot
    be created.
    """
    lock = FileLock(path, timeout=timeout)
    try:
        lock.acquire()
        if isinstance(
            lock, SoftFileLock
        ):  # filelock's replacement, which outlives a killed process
            lock.release()
            raise OSError(errno.ENOSYS, "no locks")
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            error.filename = error.filename or str(path)
            raise
        raise NoLocksError(
            f"{path.parent}: its file system does not support file locks, without which two "
            "processes could overwrite each other's files; use a folder on another disk, or have "
            "locks enabled where it is mounted"
        ) from error
    try:
        yield
    finally:
        lock.release()
