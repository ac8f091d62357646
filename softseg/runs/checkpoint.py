"""Checkpoint files: written whole or not at all, read without executing code."""

from __future__ import annotations

import errno
import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from softseg.core.errors import UserError
from softseg.core.files import naming_file, os_error_message, write_atomically
from softseg.core.memory import is_out_of_memory

_DIRECTORY = 0x10  # the flag of a directory in a ZIP entry's attributes
RECOVERY = "Restore it from a copy, or train again with --overwrite"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU; only tensors and plain values, never code.

    Raises UserError if the file is missing, damaged or holds anything else.
    """
    try:
        _check_archive(path)
        with naming_file(path):
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint; train first, or name another run") from None
    except Exception as error:  # torch raises a different class for each kind of damage
        if is_out_of_memory(error):
            raise
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise UserError(os_error_message(error)) from error  # of the disk, not of the content
        if type(error).__name__ == "UnpicklingError":  # torch's message explains how to run it
            problem = "contains more than weights, which could run code; do not use it"
        else:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            problem = f"cannot be read ({reason}); it is damaged or not a checkpoint"
        raise UserError(f"{path}: {problem}. {RECOVERY}") from error
    if not isinstance(checkpoint, dict) or not {"model", "head", "epoch"} <= checkpoint.keys():
        raise UserError(f"{path}: is not a softseg checkpoint")
    return checkpoint


def _check_archive(path: Path) -> None:
    """Raise if the file is not a ZIP archive with correct checksums, which torch does not check."""
    with naming_file(path), path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":  # torch also reads other kinds of files
            raise ValueError("it is not a checkpoint")
    with zipfile.ZipFile(path) as archive:
        # no checksum covers this bit; torch reads nothing from a "directory" and leaves noise
        directories = [entry for entry in archive.infolist() if entry.external_attr & _DIRECTORY]
        if directories or archive.testzip() is not None:
            raise zipfile.BadZipFile("checksum does not match")


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint whole or not at all."""
    content = io.BytesIO()  # torch's own writing to a file does not report a full disk
    torch.save(checkpoint, content)
    write_atomically(path, content.getvalue())
