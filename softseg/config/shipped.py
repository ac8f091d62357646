"""The configurations that come with softseg, by name: `softseg train quickstart`.

The name of one in a folder has the folder: `published/scgm_softseg`. They are in `configs/` of a
clone, and in the package itself where softseg was installed from a wheel.
"""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from softseg.config.yaml.tree import printable
from softseg.core.errors import UserError
from softseg.core.names import did_you_mean

PACKAGE = Path(__file__).resolve().parents[1]
# why the configurations of a folder are there
_FOLDERS = {"published": ", as the paper's code trained: to repeat it, not recommended"}


@dataclass(frozen=True)
class Shipped:
    """A configuration that comes with softseg, as its first comments describe it."""

    name: str
    file: Path
    command: str  # train | ablate
    purpose: str
    data: str


@cache
def shipped_folder() -> Path:
    """Return the folder with the configurations: of the package, or of the clone around it."""
    packaged = PACKAGE / "configs"  # in a clone a link, which not every system has
    return packaged.resolve() if packaged.is_dir() else PACKAGE.parent / "configs"


def shipped_files() -> dict[str, Path]:
    """Return the name of each configuration that comes with softseg, and its file."""
    files = [*shipped_folder().glob("*.yaml"), *shipped_folder().glob("*/*.yaml")]
    return {_name(file): file for file in sorted(files)}


def _name(file: Path) -> str:
    """Return the name of the configuration that comes with softseg in a file."""
    return file.resolve().relative_to(shipped_folder()).with_suffix("").as_posix()


def describe(file: Path) -> Shipped:
    """Return what the comments at the start of a configuration say: command, purpose, data."""
    text = file.read_text(encoding="utf-8")
    comments = re.match(r"(#.*\n)*", text)
    lines = comments[0].splitlines() if comments else []

    def line(start: str) -> str:
        return next((one.removeprefix(start) for one in lines if one.startswith(start)), "")

    command = line("# softseg ").partition(" ")[0]
    return Shipped(_name(file), file, command, line("# Purpose: "), line("# Data: "))


def is_bare_name(config: str | os.PathLike[str]) -> bool:
    """Whether this names a configuration rather than a file: no suffix and no folder.

    Unless it is a folder of configurations that come with softseg: `published/scgm_softseg`.
    """
    path = Path(config)
    is_plain = bool(path.name) and path.as_posix() == os.fspath(config)
    return is_plain and not path.suffix and path.parent.as_posix() in (".", *_FOLDERS)


def find_config(config: Path) -> Path:
    """Return the file that a user means by a path, or by the bare name of a configuration.

    The bare name `x` is a file `x` or `x.yaml` of the current folder, or else the configuration
    `x` that comes with softseg. Its path in a clone, `configs/x.yaml`, stands for it as well where
    there is no folder `configs`. Raises UserError for a bare name of neither, and for a missing
    YAML file with the name of such a configuration. Any other path is returned as it is.
    """
    try:
        if config.exists() and not (config.is_dir() and is_bare_name(config)):
            return config
        local = config.with_name(f"{config.name}.yaml")
        if is_bare_name(config) and local.is_file():
            return local
    except (OSError, ValueError):  # such as a name that is too long: reading it explains that
        return config
    shipped = shipped_files()
    if config.suffix in (".yaml", ".yml"):
        name = config.with_suffix("").as_posix().removeprefix("configs/")
        in_clone = config.parts[0] == "configs" and config.suffix == ".yaml"
        if in_clone and name in shipped and not Path("configs").exists():
            return shipped[name]
        if hint := did_you_mean(name, shipped) or did_you_mean(config.stem, shipped):
            comes_with = "that is the name of a configuration of softseg, without `.yaml`"
            raise UserError(f"{config}: no such file{hint}; {comes_with}")
        return config
    if not is_bare_name(config) or (config.is_dir() and config.as_posix() not in shipped):
        return config
    files = f"{printable(str(config))} or {printable(str(local))}"
    return find_shipped(config.as_posix(), f"no file {files} in this folder, and ")


def find_shipped(name: str, before: str = "") -> Path:
    """Return the file of a configuration that comes with softseg; raises UserError if none has it.

    `before`: the start of the message.
    """
    files = shipped_files()
    if name not in files:
        hint = did_you_mean(name, files)
        message = f"softseg has no configuration '{printable(name)}'{hint}"
        raise UserError(f"{before}{message}; `softseg config list` lists all names")
    return files[name]


def which_config(config: Path, file: Path) -> str:
    """Return a line that says which file a bare name means; "" if the user named a file."""
    if file == config:
        return ""
    if file.resolve().is_relative_to(shipped_folder()):
        return f"{config} is the configuration that comes with softseg: {file}"
    other = ", not the configuration of that name that comes with softseg"
    return (
        f"{config} is {file} in this folder{other if config.as_posix() in shipped_files() else ''}"
    )


def list_lines(width: int) -> Iterator[str]:
    """Yield the lines that list the configurations that come with softseg: purpose and data."""
    groups: dict[str, list[Shipped]] = {"softseg train NAME": [], "softseg ablate NAME": []}
    for config in map(describe, shipped_files().values()):
        folder = _FOLDERS.get(config.name.rpartition("/")[0], "")
        groups.setdefault(f"softseg {config.command} NAME{folder}", []).append(config)
    for heading, configs in groups.items():
        yield heading
        for config in configs:
            yield f"  {config.name}"
            for text in (config.purpose, f"Data: {config.data}"):
                yield from textwrap.wrap(
                    text,
                    width,
                    initial_indent="    ",
                    subsequent_indent="    ",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
