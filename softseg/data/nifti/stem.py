"""Names of NIfTI files without their ending."""

from __future__ import annotations

import re
from pathlib import Path

_ENDING = re.compile(r"\.nii(\.gz)?\Z")


def file_stem(path: Path) -> str:
    """Return a file's name without .nii or .nii.gz; any other name is returned unchanged."""
    return _ENDING.sub("", path.name)


def nifti_stem(path: Path) -> str:
    """Return a NIfTI file's name without .nii or .nii.gz.

    Empty for a hidden file (macOS leaves `._scan.nii.gz` next to `scan.nii.gz`) and for a file
    without such an ending.
    """
    stem = file_stem(path)
    return "" if stem == path.name or stem.startswith(".") else stem
