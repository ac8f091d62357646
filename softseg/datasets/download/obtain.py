"""A public data set, brought into a folder: what is missing of it, and nothing twice."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from softseg.core.errors import UserError
from softseg.core.files import write_atomically
from softseg.datasets.download.checksums import have, record
from softseg.datasets.download.sources import Archive, Loose
from softseg.datasets.download.transfer import Progress
from softseg.datasets.download.unpack import unpack


@dataclass(frozen=True)
class Obtained:
    """Where the data set is, and how many files had to be downloaded for that."""

    root: Path
    fetched: int


def obtain(source: Archive | Loose, folder: Path, progress: Progress) -> Obtained:
    """Download what is missing of a data set; a call after an interruption goes on from there.

    Every file is whole and has the right checksum, or is not there. Archives are unpacked and
    deleted. Raises UserError if the folder cannot be written, for anything that goes wrong on the
    network, for a wrong checksum and for an archive that is refused; OSError if the disk is full.
    """
    _make_writable(folder)
    with _alone(folder):
        if isinstance(source, Archive):
            return _obtain_archive(source, folder, progress)
        return _obtain_files(source, folder, progress)


def _obtain_archive(source: Archive, folder: Path, progress: Progress) -> Obtained:
    root, archive = folder / source.folder, folder / source.file
    if root.exists():
        return Obtained(root, 0)
    have(source.address, folder, source.file, source.checksum, progress)
    try:
        unpack(archive, source.folder, source.largest)
        if source.checksum is None:
            record(folder, source.file)
    except UserError:
        archive.unlink()  # it would be refused each time
        raise
    archive.unlink()
    return Obtained(root, 1)


def _obtain_files(source: Loose, folder: Path, progress: Progress) -> Obtained:
    fetched = 0
    for path in source.all_paths:
        known = source.checksums.get(path)
        fetched += have(source.address + path, folder, path, known, progress)
        if known is None:
            record(folder, path)
    for path, text in source.written.items():
        if not (folder / path).exists():  # the user may have added columns
            write_atomically(folder / path, text)
    return Obtained(folder, fetched)


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise UserError(
            f"{folder}: cannot be written to ({error.strerror}); name another folder"
        ) from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two downloads would write into the same unfinished files."""
    try:
        with FileLock(folder / ".download.lock", timeout=0):
            yield
    except Timeout:
        raise UserError(
            f"{folder}: another download is writing to it; wait until it ends"
        ) from None
