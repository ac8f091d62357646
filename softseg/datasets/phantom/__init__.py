"""Synthetic data sets with known ground truth: `write_phantom` is the door."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from softseg.core.errors import UserError
from softseg.core.version import __version__
from softseg.data.synthetic import MARK
from softseg.datasets.phantom.about import ABOUT
from softseg.datasets.phantom.brats2019 import write_brats2019
from softseg.datasets.phantom.files import whole_folder
from softseg.datasets.phantom.msseg2016 import write_msseg2016
from softseg.datasets.phantom.scgm import write_scgm
from softseg.datasets.phantom.uncertain import ABOUT as ABOUT_UNCERTAIN
from softseg.datasets.phantom.uncertain import write_uncertain

LAYOUTS: dict[str, Callable[[Path, int, int], None]] = {
    "scgm": write_scgm,
    "msseg2016": write_msseg2016,
    "brats2019": write_brats2019,
    "uncertain1": partial(write_uncertain, 1),
    "uncertain4": partial(write_uncertain, 4),
}
"""Layout -> what writes it: (folder, number of subjects, seed)."""

README = (
    MARK
    + """: a phantom in the layout of {layout}, drawn by a program. No patient, no volunteer,
no scanner. It is for testing and demonstrating software: no result on it says anything about
patients.

Made by softseg {version}:
    softseg data phantom DIR --layout {layout} --subjects {subjects} --seed {seed}
The same command with the same version gives the same files.
"""
)


def write_phantom(
    folder: Path, layout: str = "scgm", subjects: int = 20, seed: int = 0
) -> list[Path]:
    """Write a synthetic data set into a new or empty folder, all or nothing.

    The same version and seed give the same bytes, and a larger number of subjects the same
    first ones. Returns the files written, sorted. Raises `UserError` if the folder holds files
    already, or a parameter is impossible.
    """
    if layout not in LAYOUTS:
        raise UserError(f"no phantom has the layout {layout!r}: choose from {', '.join(LAYOUTS)}")
    if subjects < 1:
        raise UserError(f"{subjects} subjects: a phantom needs at least 1")
    if seed < 0:
        raise UserError(f"seed {seed}: a seed is 0 or larger")
    with whole_folder(folder) as unfinished:
        LAYOUTS[layout](unfinished, subjects, seed)
        facts = {"version": __version__, "layout": layout, "subjects": subjects, "seed": seed}
        about = {**ABOUT, **ABOUT_UNCERTAIN}[layout]
        (unfinished / "README").write_text(README.format(**facts) + about, encoding="utf-8")
    return sorted(path for path in folder.rglob("*") if path.is_file())
