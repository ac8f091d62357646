"""Files that are written whole or not at all: temporary name, fsync, rename."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PREFIX = ".part-"

MAX_JSON_BYTES = 50_000_000
"""Far more than the longest JSON file of a run or of an ablation's plan."""


# read once, since reading the umask also sets it, for all threads
_UMASK = os.umask(0o022)
os.umask(_UMASK)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; on success, sync it and rename it to `path`.

    The temporary name keeps the suffixes, from which writers such as nibabel decide whether to
    compress. An OSError that names the temporary file, or no file, is changed to name `path`.
    """
    try:
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
    except OSError as error:
        if error.filename is None or Path(error.filename).name.startswith(_PREFIX):
            error.filename = str(path)
        raise


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace a file's content in one step; text is written as UTF-8.

    A file name in the text that is not UTF-8 is written byte by byte, as it is on the disk.
    """
    with replacing(path) as part:
        octets = content.encode(errors="surrogateescape") if isinstance(content, str) else content
        part.write_bytes(octets)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file in UTF-8, which somebody else may have written.

    Raises OSError if the file cannot be read, and ValueError if it is not JSON, is larger than
    `MAX_JSON_BYTES`, or is nested so deeply that parsing it would end the process.
    """
    with path.open("rb") as stream:
        content = stream.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise ValueError(f"it is larger than {MAX_JSON_BYTES:,} bytes")
    try:
        return json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def write_json(path: Path, content: Any) -> None:
    """Replace a JSON file in one step."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def temporary_files(folder: Path) -> list[Path]:
    """Return the temporary files that a killed process left anywhere under a folder."""
    return list(folder.rglob(f"{_PREFIX}*"))


def delete_folder(folder: Path, first: Path, last: Path) -> None:
    """Delete a folder, removing `first` before and `last` after everything else in it.

    Links are deleted, but not their targets.
    """
    if not first.parent.is_symlink():
        first.unlink(missing_ok=True)
    for path in folder.iterdir():
        if path != last:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.rmtree(folder)
