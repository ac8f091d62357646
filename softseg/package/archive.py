"""The zip file of a package: reproducible when written, distrusted when read.

Entries are stored without compression. So nothing in a package can expand while it is read, and its
size on disk bounds the memory that reading takes.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from softseg.core.files import replacing
from softseg.package.format import LARGEST, LIMITS, MANIFEST, OPTIONAL, PackageError

_END = struct.Struct("<4s4H2LH")  # the end record of a zip: number and position of its entries
_MAX_ENTRIES = 64
_MAX_DIRECTORY_BYTES = 65_536
_BROKEN = (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, struct.error, OverflowError)


def write_archive(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write the entries atomically; the bytes do not depend on time, user or system."""
    with replacing(path) as part, zipfile.ZipFile(part, "w") as archive:
        for name in sorted(contents, key=list(LIMITS).index):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, on every system
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, contents[name])


def has_package_header(path: Path) -> bool:
    """Return whether a file begins like a package; the rest of it may be damaged."""
    with path.open("rb") as stream:
        header = stream.read(30 + len(MANIFEST))
    return header[:4] == b"PK\3\4" and header[30:] == MANIFEST.encode()


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip whose directory is small enough to be read. Raises PackageError, OSError."""
    if path.exists() and not path.is_file():
        raise PackageError("is not a file", "name a package")
    with path.open("rb") as stream:
        _check_end_record(stream)
        try:
            with zipfile.ZipFile(stream) as archive:
                yield archive
        except PackageError:
            raise
        except _BROKEN as error:
            reason = str(error) or type(error).__name__
            raise PackageError(f"is damaged or not a package ({reason[:200]!r})") from error


def _check_end_record(stream: BinaryIO) -> None:
    """Check size and position of the zip's directory before zipfile reads it."""
    size = os.fstat(stream.fileno()).st_size
    if size > LARGEST:
        raise PackageError(f"has {size:,} bytes; a package has at most {LARGEST:,}")
    stream.seek(max(0, size - _END.size))
    end = stream.read(_END.size)
    if len(end) < _END.size or not end.startswith(b"PK\5\6"):
        raise PackageError("is cut off, or not a package: its end is not that of a zip")
    _, disk, first_disk, count_here, count, length, begin, comment = _END.unpack(end)
    one_disk = (disk, first_disk, comment, count_here) == (0, 0, 0, count)
    if not one_disk or begin + length + _END.size != size:
        raise PackageError("is damaged, or a zip that softseg did not write")
    if count > _MAX_ENTRIES or length > _MAX_DIRECTORY_BYTES:
        raise PackageError(f"lists {count} entries, more than any package has")


def check_entries(archive: zipfile.ZipFile) -> None:
    """Raise PackageError for unknown, missing, repeated or unsafe entries."""
    names = [entry.orig_filename for entry in archive.infolist()]
    for name in names:
        windows = PureWindowsPath(name)  # splits at both `/` and `\`
        absolute = PurePosixPath(name).is_absolute() or windows.drive or windows.root
        if absolute or ".." in windows.parts:
            raise PackageError(f"is rejected: the path {name[:80]!r} in it leaves its folder")
        if name not in LIMITS:
            raise PackageError(f"holds {name[:80]!r}, which is not an entry of a package")
        if names.count(name) > 1:
            raise PackageError(f"holds {name} twice")
    if missing := [name for name in LIMITS if name not in names and name not in OPTIONAL]:
        raise PackageError(f"lacks {', '.join(missing)}")
    for entry in archive.infolist():
        _check_entry(entry, archive.start_dir)
    if sum(entry.file_size for entry in archive.infolist()) > archive.start_dir:
        raise PackageError("is rejected: its entries overlap, so it unpacks to more than its size")


def _check_entry(entry: zipfile.ZipInfo, available: int) -> None:
    """Raise PackageError unless an entry is a plain stored file within its limit.

    `available`: bytes of the archive before its directory.
    """
    name, limit = entry.filename, LIMITS[entry.filename]
    if entry.file_size > limit:
        raise PackageError(
            f"is rejected: {name} unpacks to {entry.file_size:,} bytes, above {limit:,}"
        )
    if entry.flag_bits & 0x1:
        raise PackageError(f"is rejected: {name} is encrypted")
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        raise PackageError(f"is rejected: {name} is a link, a folder or a device")
    if entry.compress_type != zipfile.ZIP_STORED:
        raise PackageError(f"is rejected: {name} is compressed; a package stores its entries")
    if entry.compress_size != entry.file_size:
        raise PackageError(f"is damaged: {name} has two sizes")
    if entry.header_offset + entry.file_size > available:  # before memory is allocated for it
        raise PackageError(f"is damaged: {name} has more bytes than the file")


def read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return the bytes of one entry, never more than its limit; zipfile checks their CRC.

    Raises PackageError if the entry is missing, repeated or unsafe.
    """
    entries = [entry for entry in archive.infolist() if entry.orig_filename == name]
    if len(entries) != 1:
        raise PackageError(f"is not a package: it holds {name} {len(entries)} times, not once")
    _check_entry(entries[0], archive.start_dir)
    with archive.open(entries[0]) as stream:
        data = stream.read(LIMITS[name] + 1)
    if len(data) != entries[0].file_size:
        raise PackageError(f"is damaged: {name} is not as long as its header declares")
    return data
