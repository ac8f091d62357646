"""The table of data sets that can be downloaded by name, or asked for: `sources.yaml`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, TypeAdapter

from softseg.core.component import Component, parse_component
from softseg.core.errors import UserError
from softseg.core.names import did_you_mean
from softseg.data.loaders.layouts import LayoutName

Checksum = Annotated[str, Field(pattern=r"^([0-9a-f]{64}|md5:[0-9a-f]{32})$")]
"""SHA-256 in hexadecimal, or `md5:` and an MD5."""


class _Told(Component):
    """What the user is told of every data set."""

    title: str
    """What it is, in a line."""
    license: str
    """Under which terms it may be used."""
    citation: str
    """What to cite."""
    config: str
    """The shipped configuration that reads it, or that is extended to."""
    dataset: str = ""
    """The `dataset:` section that reads it, YAML; `{root}` is its folder. Empty: the config's."""


class Archive(_Told):
    """One tar or zip file."""

    kind: Literal["archive"]
    address: str
    """Where it lies; its last part is the file's name."""
    checksum: Checksum | None
    """null: not known; what the first download has is recorded."""
    folder: str
    """The folder in it that is the data set."""
    largest: int | None = None
    """Bytes that it may unpack to; null: ten times its own."""

    @property
    def file(self) -> str:
        """The archive's name."""
        return self.address.rpartition("/")[2]


class Loose(_Told):
    """Single files below one address."""

    kind: Literal["files"]
    address: str
    """What the paths follow, ending in `/`."""
    paths: tuple[str, ...] = ()
    """Below the address and below the user's folder; `{case:02}` is each number up to `cases`."""
    cases: int = 1
    checksums: dict[str, Checksum] = Field(default_factory=dict)
    """Path -> checksum, of these paths or of further ones; of others, what the first download has
    is recorded."""
    written: dict[str, str] = Field(default_factory=dict)
    """Small files to add: path -> text."""

    @property
    def all_paths(self) -> list[str]:
        """Every path once, in order, with its number filled in."""
        numbers = range(1, self.cases + 1)
        listed = [path.format(case=n) for n in numbers for path in self.paths]
        return list(dict.fromkeys([*listed, *self.checksums]))


class ByRegistration(_Told):
    """A data set that its owners give out themselves."""

    kind: Literal["registration"]
    layout: LayoutName
    """Preset of the loader `files` that reads it; says where to ask and how files are laid out."""


Public = Archive | Loose
Source = Annotated[Archive | Loose | ByRegistration, Field(discriminator="kind")]
_TABLE: TypeAdapter[dict[str, Archive | Loose | ByRegistration]] = TypeAdapter(dict[str, Source])


@cache
def table() -> dict[str, Archive | Loose | ByRegistration]:
    """Name -> data set, in the file's order."""
    text = files("softseg.datasets.download").joinpath("sources.yaml").read_text(encoding="utf-8")
    told: Any = yaml.safe_load(text)
    return parse_component(_TABLE, told)


def names() -> tuple[str, ...]:
    """The names that `softseg data download` takes."""
    return tuple(table())


def find(name: str) -> Archive | Loose | ByRegistration:
    """The data set of this name. Raises UserError, listing the names, where there is none."""
    if name not in table():
        known = ", ".join(names())
        raise UserError(
            f"no data set is called '{name}'{did_you_mean(name, names())}; there are {known}"
        )
    return table()[name]
