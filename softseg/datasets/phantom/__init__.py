"""Synthetic datasets with known ground truth, written by `write_phantom`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from softseg.core.errors import UserError
from softseg.core.files import check_writable
from softseg.core.names import unknown_name
from softseg.core.version import __version__
from softseg.datasets.phantom import brats2019, msseg2016, scgm, uncertain


@dataclass(frozen=True)
class PhantomLayout:
    """A dataset's folder layout that a phantom imitates."""

    write: Callable[[Path, int, int], None]
    """(folder, number of subjects, seed)"""
    max_subjects: int
    """limited by the digits in its file names"""
    files: str
    """what the README says about its files"""


LAYOUTS = {
    "scgm": PhantomLayout(scgm.write_scgm, scgm.MAX_SUBJECTS, scgm.FILES),
    "msseg2016": PhantomLayout(msseg2016.write_msseg2016, msseg2016.MAX_SUBJECTS, msseg2016.FILES),
    "brats2019": PhantomLayout(brats2019.write_brats2019, brats2019.MAX_SUBJECTS, brats2019.FILES),
    **{
        f"uncertain{parts}": PhantomLayout(
            partial(uncertain.write_uncertain, parts),
            uncertain.MAX_SUBJECTS,
            uncertain.FILES.format(parts=parts),
        )
        for parts in (1, 4)
    },
}

MARK = "SYNTHETIC DATA"
"""First words of the README of every phantom, so that every result on it is marked."""
README = (
    MARK
    + """: a phantom in the layout of {layout}, computed by a program. No patient, no volunteer,
no scanner. It is for testing and demonstrating software: no result on it says anything about
patients.

Written by softseg {version}:
    softseg data phantom DIR --layout {layout} --subjects {subjects} --seed {seed}
The same command with the same version writes the same files.
"""
)


def write_phantom(
    folder: Path, layout: str = "scgm", subjects: int = 20, seed: int = 0
) -> list[Path]:
    """Write a synthetic dataset into a new or empty folder, all or nothing.

    The same version and seed give the same bytes, and a larger number of subjects the same
    first ones. Returns the files written, sorted. Raises `UserError` if the folder contains files
    already, or a parameter is impossible.
    """
    if layout not in LAYOUTS:
        raise UserError(f"phantom: {unknown_name('layout', layout, LAYOUTS)}")
    if subjects < 1:
        raise UserError(f"{subjects} subjects: a phantom needs at least 1")
    if seed < 0:
        raise UserError(f"seed {seed}: a seed is 0 or larger")
    if subjects > (most := LAYOUTS[layout].max_subjects):
        raise UserError(
            f"{subjects} subjects: the {layout} phantom has at most {most}, because of the digits "
            "in its file names; ask for fewer"
        )
    target = folder.resolve()
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file: name a new folder for the phantom")
    if target.exists() and any(target.iterdir()):
        raise UserError(
            f"{target} already contains files: name a new or an empty folder for the phantom, "
            "or delete that one"
        )
    check_writable(target.parent)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        unfinished = Path(scratch) / "unfinished"  # mkdir, for the permissions the user expects
        unfinished.mkdir()
        LAYOUTS[layout].write(unfinished, subjects, seed)
        origin = {"version": __version__, "layout": layout, "subjects": subjects, "seed": seed}
        text = README.format(**origin) + LAYOUTS[layout].files
        (unfinished / "README").write_text(text, encoding="utf-8")
        if target.exists():
            target.rmdir()
        unfinished.rename(target)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def is_phantom(folder: Path) -> bool:
    """Return whether `write_phantom` made this dataset, which the first words of README state."""
    try:
        with (folder / "README").open(encoding="utf-8", errors="replace") as readme:
            return readme.read(len(MARK)) == MARK
    except OSError:
        return False
