"""Files that get their name only when they are complete and their checksum is right."""

from __future__ import annotations

import json
from pathlib import Path

import pooch  # type: ignore[import-untyped]

from softseg.core.errors import UserError
from softseg.core.files import write_atomically
from softseg.datasets.download.transfer import Downloader, Progress

RECORD = "checksums.json"


def download_file(
    url: str, folder: Path, name: str, checksum: str | None, progress: Progress
) -> bool:
    """Download a URL to `folder/name` unless the right file exists; return whether it did so.

    Args:
        url: the address.
        folder: where the file goes; checksums.json in it has the checksums of earlier downloads.
        name: the path of the file below `folder`, with `/`.
        checksum: SHA-256 or `md5:...`; None: the recorded one or, the first time, any.
        progress: called for every chunk.

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
        record = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): str(checksum) for name, checksum in record.items()}
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
        write_atomically(folder / RECORD, json.dumps(checksums, indent=2, sort_keys=True) + "\n")
