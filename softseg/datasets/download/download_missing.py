"""Download what is missing of a public data set into a folder."""

from __future__ import annotations

import errno
import tempfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from softseg.core.errors import UserError
from softseg.core.files import write_atomically
from softseg.datasets.download.checksums import download_file, record_checksum
from softseg.datasets.download.sources import Archive, FileSet
from softseg.datasets.download.transfer import Progress
from softseg.datasets.download.unpack import unpack


@dataclass(frozen=True)
class Downloaded:
    """The root of a data set, and how many of its files had to be downloaded."""

    root: Path
    downloaded: int


def download_missing(source: Archive | FileSet, folder: Path, progress: Progress) -> Downloaded:
    """Download what is missing of a data set; a call after an interruption resumes.

    Every file is complete and has the right checksum, or does not exist. Archives are unpacked and
    deleted. Raises UserError if the folder cannot be written to, for any network error, for a
    wrong checksum and for an archive that is rejected; OSError if the disk is full.
    """
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
    try:
        # two downloads would write into the same partial files
        with FileLock(folder / ".download.lock", timeout=0):
            if isinstance(source, Archive):
                return _download_archive(source, folder, progress)
            return _download_files(source, folder, progress)
    except Timeout:
        raise UserError(
            f"{folder}: another download is writing to it; wait until it ends"
        ) from None


def _download_archive(source: Archive, folder: Path, progress: Progress) -> Downloaded:
    """Download and unpack an archive, unless its folder exists; the archive is always deleted."""
    root, archive = folder / source.folder, folder / source.file
    if root.exists():
        return Downloaded(root, 0)
    download_file(source.address, folder, source.file, source.checksum, progress)
    try:
        unpack(archive, source.folder, source.largest)
        if source.checksum is None:
            record_checksum(folder, source.file)
    except UserError:
        archive.unlink()  # it would be rejected every time
        raise
    archive.unlink()
    return Downloaded(root, 1)


def _download_files(source: FileSet, folder: Path, progress: Progress) -> Downloaded:
    """Download the missing files of a file set, and write its small ones."""
    downloaded = 0
    for path in source.all_paths:
        checksum = source.checksums.get(path)
        downloaded += download_file(source.address + path, folder, path, checksum, progress)
        if checksum is None:
            record_checksum(folder, path)
    for path, text in source.written.items():
        if not (folder / path).exists():  # the user may have added columns
            write_atomically(folder / path, text)
    return Downloaded(folder, downloaded)
