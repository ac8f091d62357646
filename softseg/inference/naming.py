"""Which scan and which contrast a file is of, as its name and its folder tell."""

from __future__ import annotations

import re
from pathlib import Path

from softseg.data.nifti.stem import nifti_stem

_WHOSE = ("sub-", "ses-", "run-")  # entities that tell scans apart, not contrasts


def scan_and_contrast(path: Path, contrasts: tuple[str, ...]) -> tuple[str, str] | None:
    """The scan and the contrast that a file's name tells."""
    stem = nifti_stem(path) or path.name
    if by_folder(path, contrasts):
        return folder_of(path), stem
    if len(contrasts) == 1:
        return stem, contrasts[0]
    endings = {f"{n:04d}": contrast for n, contrast in enumerate(contrasts)}
    endings |= {contrast: contrast for contrast in contrasts}
    for ending in sorted(endings, key=len, reverse=True):  # ce-gad_T1w before T1w
        if ends_in(ending, stem) and stem != ending:
            return stem[: -len(ending) - 1], endings[ending]
    return None


def ends_in(ending: str, stem: str) -> bool:
    """Whether a name is this, or ends in it after a `_` or `-`."""
    return re.search(rf"(^|[_-]){re.escape(ending)}$", stem) is not None


def by_folder(path: Path, contrasts: tuple[str, ...]) -> bool:
    """Whether a file's whole name is its contrast, and its folder says of which scan."""
    return nifti_stem(path) in contrasts


def folder_of(path: Path) -> str:
    """The name of the folder that a file is in: as it was given, where that is a name."""
    folder = path.parent
    return folder.name if folder.name not in ("", "..") else folder.resolve().name


def scan_and_contrast_in_bids(path: Path, contrasts: tuple[str, ...]) -> tuple[str, str] | None:
    """The same of a file in a BIDS data set, by its entities."""
    stem = nifti_stem(path)
    wanted = {_signature(contrast): contrast for contrast in contrasts}
    contrast = wanted.get(_signature(stem))
    if contrast is None:
        return None
    whose = [entity for entity in stem.split("_") if entity.startswith(_WHOSE)]
    return ("_".join(whose), contrast)


def _signature(stem: str) -> tuple[frozenset[str], str]:
    *entities, suffix = stem.split("_")
    return frozenset(one for one in entities if not one.startswith(_WHOSE)), suffix
