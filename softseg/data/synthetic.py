"""Recognize synthetic data sets, so that every result on them is marked as synthetic."""

from __future__ import annotations

from pathlib import Path

MARK = "SYNTHETIC DATA"
"""First words of the README of every phantom data set."""


def is_phantom(folder: Path) -> bool:
    """Return whether `write_phantom` made this data set, which the first words of README state."""
    try:
        with (folder / "README").open(encoding="utf-8", errors="replace") as readme:
            return readme.read(len(MARK)) == MARK
    except OSError:
        return False
