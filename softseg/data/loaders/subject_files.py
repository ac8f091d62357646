"""Files that could belong to one subject, and the subjects that `dataset.include` selects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from softseg.core.component import check_distinct
from softseg.core.errors import UserError
from softseg.core.names import listing, unknown_name
from softseg.data.subject import no_subject_has

IncludedValues = Annotated[
    tuple[str | int, ...], Field(min_length=1), AfterValidator(check_distinct)
]
"""The values of one column whose subjects are used."""


@dataclass(frozen=True)
class MaskFile:
    """A mask's file, the contrast it is named after and its rater ("" where names tell none)."""

    path: Path
    contrast: str = ""
    rater: str = ""


@dataclass
class SubjectFiles:
    """Every file that could belong to one subject, before it is validated."""

    name: str
    columns: dict[str, str]
    images: defaultdict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    labels: defaultdict[str, list[MaskFile]] = field(default_factory=lambda: defaultdict(list))
    rois: list[MaskFile] = field(default_factory=list)
    searched: Mapping[str, str] = field(default_factory=dict)
    """Where the loader searched, as a path with `*`: `image <contrast>`, `roi`, `mask <target>`
    (where {rater} stands for a rater), and of tables `mask <target> by rater <rater>`."""
    missing_raters: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Target -> raters whose mask a table names, although there is no such file."""
    is_named: bool = False
    """Whether a table names files of this subject, which is then never silently left out."""

    def mask_location(self, target: str, rater: str | None = None) -> str:
        """Return where the mask of a target was searched: that of one rater, or of any."""
        of_rater = self.searched.get(f"mask {target} by rater {rater}")
        return of_rater or self.searched[f"mask {target}"].replace("{rater}", rater or "*")

    @property
    def raters(self) -> set[str]:
        """All raters of any target, including those whose files are missing."""
        raters = {mask.rater for masks in self.labels.values() for mask in masks}
        return raters.union(*self.missing_raters.values())


def select_subjects(
    candidates: Sequence[SubjectFiles], include: Mapping[str, tuple[str | int, ...]]
) -> list[SubjectFiles]:
    """Return the subjects that have, in every column of `include`, one of its values.

    Raises UserError for a column or a value that no subject has, and if no subject fits them all.
    """
    if not candidates:
        return []
    selected = list(candidates)
    for column, values in include.items():
        available = {files.columns[column] for files in candidates if column in files.columns}
        if not available:
            columns = {name for files in candidates for name in files.columns}
            raise UserError(f"dataset.include: {unknown_name('column', column, columns)}")
        wanted = [str(value) for value in values]
        for value in wanted:
            if value not in available:
                message = no_subject_has(column, value, available)
                raise UserError(f"dataset.include.{column}: {message}")
        selected = [files for files in selected if files.columns.get(column) in wanted]
    if not selected:
        raise UserError(
            f"dataset.include: no subject fits all of {listing(include)}; remove one of them"
        )
    return selected
