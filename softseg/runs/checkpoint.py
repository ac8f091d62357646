"""Checkpoint files: written whole or not at all, read without executing code."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from softseg.core.errors import UserError
from softseg.core.files import write_atomically

_FOLDER = 0x10  # of a ZIP entry's attributes
RECOVERY = "Restore it from a copy, or train again with --overwrite"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU; only tensors and plain values, never code (contract 7).

    Raises UserError when the file is missing, damaged or holds anything else.
    """
    try:
        _check_kind(path)
        with zipfile.ZipFile(path) as archive:  # torch does not check its own checksums
            # a bit that no checksum covers: of a "folder" torch reads nothing and leaves noise
            folders = [entry for entry in archive.infolist() if entry.external_attr & _FOLDER]
            if folders or archive.testzip() is not None:
                raise zipfile.BadZipFile("checksum does not match")
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint; train first, or name another run") from None
    except Exception as error:  # torch raises a different kind for each sort of damage
        raise UserError(f"{path}: {_wrong(error)}. {RECOVERY}") from error
    if not isinstance(saved, dict) or not {"model", "head", "epoch"} <= saved.keys():
        raise UserError(f"{path}: is not a softseg checkpoint")
    return saved


def _check_kind(path: Path) -> None:
    """Refuse (ValueError) what does not begin as a ZIP file: torch reads other kinds, too."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise ValueError("it is no checkpoint")


def _wrong(error: Exception) -> str:
    if type(error).__name__ == "UnpicklingError":  # torch's words would tell how to run it
        return "holds more than weights, which could run code; do not use it"
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"cannot be read ({reason}); it is damaged or foreign"


def write_checkpoint(saved: dict[str, Any], path: Path) -> None:
    """Write a checkpoint whole or not at all."""
    content = io.BytesIO()  # torch's own writing of files does not say that a disk is full
    torch.save(saved, content)
    write_atomically(path, content.getvalue())
