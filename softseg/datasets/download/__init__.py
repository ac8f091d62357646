"""Public data sets by name: `fetch` for the console, `download` for programs."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from softseg.core.errors import UserError
from softseg.datasets.download.obtain import obtain
from softseg.datasets.download.show import asking, show
from softseg.datasets.download.sources import ByRegistration, find, names
from softseg.datasets.download.transfer import Progress

__all__ = ["Progress", "download", "fetch", "names"]


def download(name: str, folder: Path, progress: Progress = lambda *_: None) -> Path:
    """Download a public data set, or what is missing of it, and return its root.

    Args:
        name: one of `names()`.
        folder: where it goes; made if need be. An archive's root is a folder in it.
        progress: called for every chunk with the file, its bytes so far, and their number if known.

    Raises UserError for an unknown name, a data set that is given out after registration only, and
    whatever goes wrong on the way (see `obtain`); OSError if the disk is full.
    """
    source = find(name)
    if isinstance(source, ByRegistration):
        raise UserError(f"{name}: {'; '.join(asking(source, folder))}")
    return obtain(source, folder, progress).root


def fetch(name: str, folder: Path, console: Console) -> None:
    """Do all that `softseg data download NAME DIR` does: see `show`.

    Raises UserError for an unknown name and for whatever goes wrong on the way; OSError if the
    disk is full.
    """
    show(find(name), folder, console)
