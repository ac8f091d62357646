"""Where subjects come from: the one reader, loaders, raters and their fusion, splits."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from softseg.core.component import parse_component
from softseg.data.loaders.bids import BidsDataset
from softseg.data.loaders.files import FilesDataset
from softseg.data.loaders.nnunet import NnunetDataset
from softseg.data.loaders.table import TableDataset
from softseg.data.splits import Sets, Split, read_split, write_split
from softseg.data.subject import DatasetError, Subject

Loader = FilesDataset | BidsDataset | TableDataset | NnunetDataset
Dataset = Annotated[Loader, Field(discriminator="loader")]

__all__ = [
    "Dataset",
    "DatasetError",
    "Sets",
    "Split",
    "Subject",
    "build",
    "read_split",
    "write_split",
]


def build(spec: Any) -> Loader:
    """The dataset that the section `dataset:` describes; calling it finds its subjects."""
    return parse_component(TypeAdapter[Loader](Dataset), spec)
