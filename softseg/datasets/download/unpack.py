"""Archives from the network: looked through before anything of them is written."""

from __future__ import annotations

import lzma
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from gzip import BadGzipFile
from pathlib import Path, PurePosixPath, PureWindowsPath

from softseg.core.errors import UserError

TIMES = 10  # an archive of scans, compressed already, unpacks to little more than itself
_BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, BadGzipFile, lzma.LZMAError, zlib.error,
    RuntimeError,  # an encrypted zip
)  # fmt: skip


@dataclass(frozen=True)
class _Entry:
    name: str
    size: int  # bytes, unpacked
    plain: bool  # a file or a folder: no link, no device


def unpack(archive: Path, folder: str, largest: int | None = None) -> Path:
    """Unpack a folder of a tar or zip beside the archive, all or nothing.

    Args:
        archive: the file.
        folder: the folder in it to keep, a name without `/`.
        largest: bytes that everything in it may have; None: ten times the archive's.

    Returns the folder, which must not exist yet. Raises UserError, and leaves nothing, when the
    archive is broken, holds no such folder, unpacks to more, or holds a link, a device, or a path
    that is absolute or has `..`.
    """
    bound = largest or TIMES * archive.stat().st_size
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=archive.parent) as scratch:
        try:
            _unpack_all(archive, Path(scratch), bound)
        except _BROKEN as error:
            raise UserError(f"{archive}: is no whole archive ({error}); download again") from error
        if not (Path(scratch) / folder).is_dir():
            raise UserError(f"{archive}: holds no folder {folder}; the data set was changed")
        return (Path(scratch) / folder).rename(archive.parent / folder)


def _unpack_all(archive: Path, into: Path, bound: int) -> None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            _check(archive, _zip_entries(zipped), bound)
            zipped.extractall(into)
        return
    with tarfile.open(archive) as tar:
        _check(archive, (_Entry(m.name, m.size, m.isreg() or m.isdir()) for m in tar), bound)
        tar.extractall(into, filter="data")


def _zip_entries(zipped: zipfile.ZipFile) -> Iterator[_Entry]:
    for info in zipped.infolist():
        # zip notes Unix's file type in the upper half; 0: written elsewhere
        mode = stat.S_IFMT(info.external_attr >> 16)
        yield _Entry(info.filename, info.file_size, mode in (0, stat.S_IFREG, stat.S_IFDIR))


def _check(archive: Path, entries: Iterable[_Entry], bound: int) -> None:
    """Raise UserError at the first entry that no data set has, or that makes it too much."""
    total = 0
    for entry in entries:
        total += entry.size
        if not _inside(entry.name):
            raise UserError(f"{archive}: refused, since it holds a path that leaves its folder: "
                            f"{entry.name!r}; report it to the data set's owners")  # fmt: skip
        if not entry.plain:
            raise UserError(f"{archive}: refused, since it holds a link or a device: "
                            f"{entry.name!r}; report it to the data set's owners")  # fmt: skip
        if total > bound:
            raise UserError(
                f"{archive}: refused, since it unpacks to more than {bound:,} bytes; report it to "
                "the data set's owners"
            )


def _inside(name: str) -> bool:
    windows = PureWindowsPath(name)  # takes both `/` and `\`
    absolute = PurePosixPath(name).is_absolute() or windows.drive or windows.root
    return not absolute and ".." not in windows.parts
