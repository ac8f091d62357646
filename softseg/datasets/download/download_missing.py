"""Download what is missing of a public dataset into a folder.

A file gets its name only when it is complete and its checksum is right.
"""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pooch  # type: ignore[import-untyped]
from filelock import Timeout

from softseg.core.errors import UserError
from softseg.core.files import read_json, write_atomically, write_json
from softseg.core.locks import file_lock
from softseg.datasets.download.sources import Archive, FileSet
from softseg.datasets.download.transfer import Downloader, Progress
from softseg.datasets.download.unpack import unpack

RECORD = "checksums.json"
"""The checksums of earlier downloads into a folder."""


def download_missing(
    source: Archive | FileSet, folder: Path, progress: Progress
) -> tuple[Path, int]:
    """Download what is missing of a dataset; return its root and the number of files downloaded.

    A call after an interruption resumes.
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
        with file_lock(folder / ".download.lock", 0):
            if isinstance(source, Archive):
                return _download_archive(source, folder, progress)
            return _download_files(source, folder, progress)
    except Timeout:
        raise UserError(
            f"{folder}: another download is writing to it; wait until it ends"
        ) from None


def _download_archive(source: Archive, folder: Path, progress: Progress) -> tuple[Path, int]:
    """Download and unpack an archive, unless its folder exists; the archive is always deleted."""
    root, archive = folder / source.folder, folder / source.file
    if root.exists():
        return root, 0
    download_file(source.address, folder, source.file, source.checksum, progress)
    try:
        unpack(archive, source.folder, source.largest)
        if source.checksum is None:
            record_checksum(folder, source.file)
    except UserError:
        archive.unlink()  # it would be rejected every time
        raise
    archive.unlink()
    return root, 1


def _download_files(source: FileSet, folder: Path, progress: Progress) -> tuple[Path, int]:
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
    return folder, downloaded


def download_file(
    url: str, folder: Path, name: str, checksum: str | None, progress: Progress
) -> bool:
    """Download a URL to `folder/name` unless the right file exists; return whether it did so.

    `checksum` is SHA-256 or `md5:...`; None: the recorded one or, the first time, any.
    Raises UserError when the file cannot be downloaded completely or is not the right one; then
    no file has its name.
    """
    target = folder / name
    expected = checksum or recorded_checksums(folder).get(name)
    if target.is_file() and pooch.hashes.hash_matches(target, expected):
        return False
    # pooch logs every file, and checksums that are not known
    pooch.get_logger().setLevel("WARNING")
    downloader = Downloader(target.with_name(f"{target.name}.part"), name, progress)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        pooch.retrieve(url, expected, fname=name, path=folder, downloader=downloader)
    except ValueError as error:
        mismatch = str(error).split(". ")[0]  # expected and actual; the rest is for programmers
        advice = "try again; if it fails again, the file was changed at its source: do not use it"
        if not checksum:
            advice = (
                f"the file was changed at its source since the first download; to accept the new "
                f"one, remove {name} from {folder / RECORD}"
            )
        message = f"{url}: {mismatch}; the downloaded file was deleted; {advice}"
        raise UserError(message) from error
    return True


def recorded_checksums(folder: Path) -> dict[str, str]:
    """Return name -> SHA-256 of the files that earlier downloads wrote to a folder.

    Raises UserError if the record is not valid.
    """
    path = folder / RECORD
    if not path.exists():
        return {}
    try:
        return {str(name): str(checksum) for name, checksum in read_json(path).items()}
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{path}: is not a record of checksums ({error}); delete it, and the files are "
            "accepted as they are"
        ) from error


def record_checksum(folder: Path, name: str) -> None:
    """Record the SHA-256 of a file, with which later downloads are compared."""
    checksums = recorded_checksums(folder)
    if name not in checksums:
        checksums[name] = pooch.file_hash(folder / name)
        write_json(folder / RECORD, dict(sorted(checksums.items())))
