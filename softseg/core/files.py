"""Files that are either whole or absent: temporary name, fsync, rename (contract 7)."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = ".part-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed over it.

    The name keeps the suffixes, which tell writers such as nibabel whether to compress. An OSError
    of the temporary file, or of none, names `path`.
    """
    try:
        with _whole(path) as part:
            yield part
    except OSError as error:
        if error.filename is None or Path(error.filename).name.startswith(_PREFIX):
            error.filename = str(path)
        raise


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(prefix=_PREFIX, suffix=f"-{path.name}", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.chmod(0o666 & ~_UMASK)  # mkstemp makes it private
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace a file's content in one step; text is written as UTF-8.

    The name of a file that is no UTF-8 gets into it byte by byte, as it is on the disk.
    """
    with replacing(path) as part:
        octets = content.encode(errors="surrogateescape") if isinstance(content, str) else content
        part.write_bytes(octets)


def temporary_files(folder: Path) -> list[Path]:
    """Temporary files that a killed process left anywhere under a folder."""
    return list(folder.rglob(f"{_PREFIX}*"))


def delete_folder(folder: Path, first: Path, last: Path) -> None:
    """Delete a folder; of what is in it, one file before and one after all others.

    Links are deleted, and not what they lead to.
    """
    if not first.parent.is_symlink():
        first.unlink(missing_ok=True)
    for path in folder.iterdir():
        if path != last:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.rmtree(folder)


def _read_umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


_UMASK = _read_umask()
