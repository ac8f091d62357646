"""The page as a folder that a web server can show."""

from __future__ import annotations

from pathlib import Path

from softseg.core.errors import UserError
from softseg.core.files import check_new_folder, write_atomically
from softseg.viewer.site import Site


def check_export_folder(folder: Path) -> None:
    """Raise UserError if a folder cannot be written to, or holds something."""
    check_new_folder(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; choose a new folder for --export")


def export_site(site: Site, folder: Path) -> int:
    """Write all files of a site into an empty folder; return their bytes.

    The page itself is written last: without it, an export that stopped shows nothing.
    """
    check_export_folder(folder)
    total = 0
    for name, resource in site.items():
        content, path = resource.read(), folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
        total += len(content)
    return total
