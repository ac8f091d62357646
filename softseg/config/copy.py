"""Copy a configuration that comes with softseg, with those that it extends, to a user's folder."""

from __future__ import annotations

import re
from pathlib import Path

from softseg.config.merge import extension_chain
from softseg.config.shipped import find_shipped, shipped_folder
from softseg.core.errors import combined_error
from softseg.core.files import check_new_folder, write_atomically


def copy_config(name: str, folder: Path, overwrite: bool = False) -> dict[Path, bool]:
    """Copy the configuration and the files that it extends; return whether each copy is new.

    Paths of configurations in comments become those of the copies; the copy of `published/x` is
    DIR/published/x.yaml, and the name may end with `.yaml`. A file that is there already
    with the same content stays. Raises UserError, before anything is written, for an unknown name,
    and for a file with other content unless `overwrite`.
    """
    texts = {}
    for file in extension_chain(find_shipped(name.removesuffix(".yaml"))):
        copied = folder / file.relative_to(shipped_folder())
        texts[copied] = _with_paths_in(file.read_text(encoding="utf-8"), folder)
    check_new_folder(folder)
    new = {file: text for file, text in texts.items() if _content(file) != text}
    existing = [str(file) for file in new if file.exists()]
    if existing and not overwrite:
        heading = "already there, with other content; name another folder, or add --overwrite:"
        raise combined_error(heading, existing)
    for file, text in new.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, text)
    return {file: file in new for file in texts}


def _with_paths_in(text: str, folder: Path) -> str:
    """Return a configuration with `configs/x.yaml` in its comments replaced by `FOLDER/x.yaml`."""
    return re.sub(r"configs/(?=[\w/]+\.yaml)", lambda _: (folder / "x").as_posix()[:-1], text)


def _content(file: Path) -> str | None:
    """Return the text of a file; None if there is no such file, or if it is not text."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
