"""Unpack archives from the network, which are checked before any of their files is written."""

from __future__ import annotations

import lzma
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from gzip import BadGzipFile
from pathlib import Path, PurePosixPath, PureWindowsPath

from softseg.core.errors import UserError

TIMES = 10  # an archive of scans, compressed already, unpacks to little more than itself
_BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, BadGzipFile, lzma.LZMAError, zlib.error,
    RuntimeError,  # an encrypted zip
)  # fmt: skip

_Member = tuple[str, int, bool]
"""Name, bytes when unpacked, and whether it is a file or a folder, not a link or a device."""


def unpack(archive: Path, folder: str, largest: int | None = None) -> Path:
    """Unpack a folder of a tar or zip next to the archive, all or nothing.

    `folder` is a name without `/`; `largest` is the most bytes that the archive may unpack to,
    None: ten times its own size. Returns the folder, which must not exist before. Raises UserError,
    and leaves nothing, when the archive is broken, has no such folder, unpacks to more, or contains
    a link, a device, or a path that is absolute or contains `..`.
    """
    bound = largest or TIMES * archive.stat().st_size
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=archive.parent) as scratch:
        try:
            _unpack_all(archive, Path(scratch), bound)
        except _BROKEN as error:
            raise UserError(
                f"{archive}: is not a complete archive ({error}); download it again"
            ) from error
        if not (Path(scratch) / folder).is_dir():
            raise UserError(f"{archive}: contains no folder {folder}; the dataset was changed")
        return (Path(scratch) / folder).rename(archive.parent / folder)


def _unpack_all(archive: Path, into: Path, bound: int) -> None:
    """Check and unpack a tar or zip."""
    if not zipfile.is_zipfile(archive):
        with tarfile.open(archive) as tar:
            _check(archive, ((m.name, m.size, m.isreg() or m.isdir()) for m in tar), bound)
            tar.extractall(into, filter="data")
        return
    with zipfile.ZipFile(archive) as zipped:
        members = []
        for info in zipped.infolist():
            # zip has Unix's file type in the upper half; 0: written on another system
            mode = stat.S_IFMT(info.external_attr >> 16)
            is_plain = mode in (0, stat.S_IFREG, stat.S_IFDIR)
            members.append((info.filename, info.file_size, is_plain))
        _check(archive, members, bound)
        zipped.extractall(into)


def _check(archive: Path, members: Iterable[_Member], bound: int) -> None:
    """Raise UserError at the first member that a dataset never has, or that exceeds the bound."""
    total = 0
    for name, size, is_plain in members:
        total += size
        windows = PureWindowsPath(name)  # takes both `/` and `\`
        absolute = PurePosixPath(name).is_absolute() or windows.drive or windows.root
        problem = ""
        if absolute or ".." in windows.parts:
            problem = f"contains a path outside its folder: {name!r}"
        elif not is_plain:
            problem = f"contains a link or a device: {name!r}"
        elif total > bound:
            problem = f"unpacks to more than {bound:,} bytes"
        if problem:
            raise UserError(
                f"{archive}: rejected, because it {problem}; report it to the dataset's owners"
            )
