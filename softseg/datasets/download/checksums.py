"""Files that take their name only when they are complete and their checksum is right."""

from __future__ import annotations

import json
from pathlib import Path

import pooch  # type: ignore[import-untyped]

from softseg.core.errors import UserError
from softseg.core.files import write_atomically
from softseg.datasets.download.transfer import Progress, Resuming
from softseg.datasets.download.unfinished import part_of

RECORD = "checksums.json"


def have(url: str, folder: Path, name: str, known: str | None, progress: Progress) -> bool:
    """See to it that `folder/name` is the file at an address; True if it had to be downloaded.

    Args:
        url: its address.
        folder: where it goes; its checksums.json has what earlier downloads found.
        name: its path below `folder`, with `/`.
        known: its checksum, SHA-256 or `md5:...`; None: the recorded one or, the first time, any.
        progress: told of every chunk.

    Raises UserError when it cannot be had complete and right; nothing has its name then.
    """
    target = folder / name
    expected = known or recorded(folder).get(name)
    if target.is_file() and pooch.hashes.hash_matches(target, expected):
        return False
    # it tells of every file in its log, and of checksums that are not known
    pooch.get_logger().setLevel("WARNING")
    downloader = Resuming(part_of(target), name, progress)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        pooch.retrieve(url, expected, fname=name, path=folder, downloader=downloader)
    except ValueError as error:
        raise UserError(_wrong(url, folder, name, str(error), from_table=bool(known))) from error
    return True


def recorded(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of what earlier downloads into a folder found.

    Raises UserError if the record is not one.
    """
    path = folder / RECORD
    if not path.exists():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): str(found) for name, found in told.items()}
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{path}: is no record of checksums ({error}); delete it, and the files are taken as "
            "they are"
        ) from error


def record(folder: Path, name: str) -> None:
    """Note the SHA-256 of a file, against which later downloads are held."""
    known = recorded(folder)
    if name not in known:
        known[name] = pooch.file_hash(folder / name)
        write_atomically(folder / RECORD, json.dumps(known, indent=2, sort_keys=True) + "\n")


def _wrong(url: str, folder: Path, name: str, reason: str, *, from_table: bool) -> str:
    found = reason.split(". ")[0]  # expected and found; the rest is for programmers
    if from_table:
        advice = "try again; if it stays so, the file was changed at its source: do not use it"
    else:
        advice = (
            f"the file was changed at its source since the first download; to take the new one, "
            f"remove {name} from {folder / RECORD}"
        )
    return f"{url}: {found}; what was downloaded is deleted; {advice}"
