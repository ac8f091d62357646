"""The table of public datasets that can be downloaded or registered for: `sources.yaml`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

import yaml
from pydantic import Field, TypeAdapter

from softseg.core.component import Component, parse_component
from softseg.core.errors import UserError
from softseg.core.names import unknown_name
from softseg.data.loaders.files import LayoutName

Checksum = Annotated[str, Field(pattern=r"^([0-9a-f]{64}|md5:[0-9a-f]{32})$")]
"""SHA-256 in hexadecimal, or `md5:` and an MD5."""


class _Described(Component):
    """The description of every dataset, which the command prints."""

    title: str
    """What it contains, in one line."""
    license: str
    """The terms under which it may be used."""
    citation: str
    """What to cite."""
    config: str
    """Name of the shipped configuration that reads it, or that a configuration for it extends."""
    dataset: str = ""
    """The `dataset:` section that reads it, YAML; `{root}` is its folder. Empty: the config's."""


class Archive(_Described):
    """One tar or zip file."""

    kind: Literal["archive"]
    address: str
    """Its URL, of which the last part is the file's name."""
    checksum: Checksum | None
    """null: not known; the checksum of the first download is recorded."""
    folder: str
    """The folder in it that contains the dataset."""
    largest: int | None = None
    """The most bytes that it may unpack to; null: ten times its own size."""

    @property
    def file(self) -> str:
        """The archive's name."""
        return self.address.rpartition("/")[2]


class FileSet(_Described):
    """Single files below one URL."""

    kind: Literal["files"]
    address: str
    """The URL that precedes the paths, ending in `/`."""
    paths: tuple[str, ...] = ()
    """Paths below the URL and below the user's folder; `{case:02}` is each number up to `cases`."""
    cases: int = 1
    checksums: dict[str, Checksum] = Field(default_factory=dict)
    """Path -> checksum, of these paths or of further ones; for the others, the checksum of the
    first download is recorded."""
    written: dict[str, str] = Field(default_factory=dict)
    """Small files to write: path -> text."""

    @property
    def all_paths(self) -> list[str]:
        """Every path once, in order, with its number."""
        numbers = range(1, self.cases + 1)
        listed = [path.format(case=n) for n in numbers for path in self.paths]
        return list(dict.fromkeys([*listed, *self.checksums]))


class ByRegistration(_Described):
    """A dataset that its owners provide after registration."""

    kind: Literal["registration"]
    layout: LayoutName
    """Preset of the loader `files` that reads it; it has the place of registration and of files."""


Source = Archive | FileSet | ByRegistration
_TABLE: TypeAdapter[dict[str, Source]] = TypeAdapter(
    dict[str, Annotated[Source, Field(discriminator="kind")]]
)


@cache
def table() -> dict[str, Source]:
    """Return name -> dataset, in the file's order."""
    text = files("softseg.datasets.download").joinpath("sources.yaml").read_text(encoding="utf-8")
    return parse_component(_TABLE, yaml.safe_load(text))


def find_source(name: str) -> Source:
    """Return the dataset of this name. Raises UserError, listing the names, for another."""
    if name not in table():
        raise UserError(unknown_name("dataset", name, table()))
    return table()[name]
