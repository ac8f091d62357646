"""The zip around a package's entries: the same bytes for the same content, and read with distrust.

Entries are stored as they are. So nothing in a package can grow while it is read, and its size on
disk bounds the memory that reading takes.
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
from softseg.package.entries import LARGEST, LIMITS, MANIFEST, OPTIONAL, RefusedError

_END = struct.Struct("<4s4H2LH")  # the record that ends a zip: numbers and place of its entries
_MOST_ENTRIES = 64
_MOST_LISTED = 65_536  # bytes of the list of entries
_BROKEN = (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, struct.error, OverflowError)


def write_archive(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write entries, whole or not at all; nothing of the time, the user or the system is in it."""
    with replacing(path) as part, zipfile.ZipFile(part, "w") as archive:
        for name in sorted(contents, key=list(LIMITS).index):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, whatever this is
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, contents[name])


def looks_packaged(path: Path) -> bool:
    """Whether a file begins as `write_archive` lets it begin, be it damaged further on."""
    with path.open("rb") as stream:
        begins = stream.read(30 + len(MANIFEST))
    return begins[:4] == b"PK\3\4" and begins[30:] == MANIFEST.encode()


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip whose list of entries is small enough to be read. Raises RefusedError, OSError."""
    if path.exists() and not path.is_file():
        raise RefusedError("is no file", "name a package")
    with path.open("rb") as stream:
        _check_end(stream)
        try:
            with zipfile.ZipFile(stream) as archive:
                yield archive
        except RefusedError:
            raise
        except _BROKEN as error:
            reason = str(error) or type(error).__name__
            raise RefusedError(f"is damaged or no package ({reason[:200]!r})") from error


def _check_end(stream: BinaryIO) -> None:
    """A zip ends with where its entries are listed; look at that before the list is read."""
    size = os.fstat(stream.fileno()).st_size
    if size > LARGEST:
        raise RefusedError(f"has {size:,} bytes; a package has at most {LARGEST:,}")
    stream.seek(max(0, size - _END.size))
    end = stream.read(_END.size)
    if len(end) < _END.size or not end.startswith(b"PK\5\6"):
        raise RefusedError("is cut off, or no package: its end is not that of a zip")
    _, disk, first, here, count, listed, begin, comment = _END.unpack(end)
    plain = (disk, first, comment, here) == (0, 0, 0, count)
    if not plain or begin + listed + _END.size != size:
        raise RefusedError("is damaged, or a zip that softseg did not write")
    if count > _MOST_ENTRIES or listed > _MOST_LISTED:
        raise RefusedError(f"lists {count} entries, which no package has")


def check_entries(archive: zipfile.ZipFile) -> None:
    """Refuse an archive that has other entries than a package's, or one entry twice."""
    names = [entry.orig_filename for entry in archive.infolist()]
    for name in names:
        if _climbs(name):
            raise RefusedError(f"is refused: the path {name[:80]!r} in it leaves its folder")
        if name not in LIMITS:
            raise RefusedError(f"holds {name[:80]!r}, which no package has")
        if names.count(name) > 1:
            raise RefusedError(f"holds {name} twice")
    if missing := [name for name in LIMITS if name not in names and name not in OPTIONAL]:
        raise RefusedError(f"lacks {', '.join(missing)}")
    for entry in archive.infolist():
        _check_entry(entry, archive.start_dir)
    if sum(entry.file_size for entry in archive.infolist()) > archive.start_dir:
        raise RefusedError("is refused: entries in it overlap, so it unpacks to more than it has")


def _climbs(name: str) -> bool:
    windows = PureWindowsPath(name)  # takes both `/` and `\`
    absolute = PurePosixPath(name).is_absolute() or windows.drive or windows.root
    return bool(absolute or ".." in windows.parts)


def _check_entry(entry: zipfile.ZipInfo, room: int) -> None:
    """Refuse an entry that is too large, or not plain bytes stored as they are in `room` bytes."""
    name, limit = entry.filename, LIMITS[entry.filename]
    if entry.file_size > limit:
        raise RefusedError(
            f"is refused: {name} unpacks to {entry.file_size:,} bytes, above {limit:,}"
        )
    if entry.flag_bits & 0x1:
        raise RefusedError(f"is refused: {name} is encrypted")
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        raise RefusedError(f"is refused: {name} is a link, a folder or a device")
    if entry.compress_type != zipfile.ZIP_STORED:
        raise RefusedError(f"is refused: {name} is compressed, which entries of a package are not")
    if entry.compress_size != entry.file_size:
        raise RefusedError(f"is damaged: {name} has two sizes")
    if entry.header_offset + entry.file_size > room:  # so that no memory is asked for in vain
        raise RefusedError(f"is damaged: {name} has more bytes than there are")


def read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """The bytes of one entry, never more than its limit. Raises RefusedError where it is no such.

    The zip's own checksum is looked at here.
    """
    entries = [entry for entry in archive.infolist() if entry.orig_filename == name]
    if len(entries) != 1:
        raise RefusedError(f"is no package: it holds {name} {len(entries)} times, not once")
    _check_entry(entries[0], archive.start_dir)
    with archive.open(entries[0]) as stream:
        data = stream.read(LIMITS[name] + 1)
    if len(data) != entries[0].file_size:
        raise RefusedError(f"is damaged: {name} is shorter or longer than it says")
    return data
