"""A subject: one session of one person, and its files before and after they are validated."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from softseg.core.component import check_distinct
from softseg.core.errors import UserError
from softseg.core.names import did_you_mean, listing, unknown_name

IncludedValues = Annotated[
    tuple[str | int, ...], Field(min_length=1), AfterValidator(check_distinct)
]
"""The values of one column whose subjects are used."""
_log = logging.getLogger(__name__)
_MISSING = ("", "n/a", "na", "nan")


def is_missing(value: str) -> bool:
    """Whether a cell says that the value is not known: empty, n/a (BIDS), NA or NaN."""
    return value.strip().casefold() in _MISSING


@dataclass(frozen=True)
class Frame:
    """One volume of a 4D file that holds all contrasts."""

    index: int
    count: int
    """The number of volumes that the file must have."""


@dataclass(frozen=True)
class Subject:
    """The files of one subject, none of which has been opened yet."""

    name: str
    """Unique in the dataset: `site1-sc01`, `sub-X`, `sub-X_ses-Y`."""
    images: dict[str, Path]
    """Contrast -> file, in the order of the config."""
    labels: dict[str, dict[str, Path | None]]
    """Target -> rater -> file; without raters the only rater is the empty name. None: the rater saw
    nothing of the target, so the mask is 0 everywhere."""
    roi: Path | None
    """Mask of the region of interest, if the dataset has one."""
    columns: Mapping[str, str]
    """What splits can go by: `subject` (the person; shared by the sessions of one), placeholders
    such as `center` and `session`, and the columns of participants.tsv or the table."""
    frames: Mapping[str, Frame] = field(default_factory=dict)
    """Contrast -> the volume of its file, for contrasts that share a 4D file."""
    ignore: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Target -> codes of the voxels in its masks whose truth is unknown; only targets with some."""
    confidence: Mapping[str, Path] = field(default_factory=dict)
    """Target -> the map of how much each voxel counts in the loss; only targets with one."""

    @property
    def first_image(self) -> Path:
        """The image that predictions are named after."""
        return next(iter(self.images.values()))

    @property
    def files(self) -> list[Path]:
        """All files: images in the order of the config, masks by target and rater, confidence maps
        by target, the ROI mask."""
        masks = [
            path for _, raters in sorted(self.labels.items()) for _, path in sorted(raters.items())
        ]
        maps = [path for _, path in sorted(self.confidence.items())]
        others = (path for path in (*masks, *maps, self.roi) if path is not None)
        return [*self.images.values(), *others]

    @property
    def person(self) -> str:
        """The person who was scanned, the same for all sessions of one person.

        It is in the column `person` if sessions are subjects by themselves (`sub-9709Ses1`).
        """
        return self.value("person") or self.columns.get("subject", self.name)

    def value(self, column: str) -> str | None:
        """Return the value in a column; None if there is none or it is missing (`is_missing`).

        The column `subject` comes from names, where nothing is missing.
        """
        value = self.columns.get(column)
        return None if value is None or (is_missing(value) and column != "subject") else value


def persons_of(subjects: Iterable[Subject]) -> dict[str, str]:
    """Return the person of each subject, by name."""
    return {subject.name: subject.person for subject in subjects}


def count_scans(names: Collection[str], persons: Mapping[str, str]) -> str:
    """Return `11 scans of 6 persons`, or `11 subjects` if no person has several.

    `persons` has the person of each subject, if known.
    """
    count = len({persons.get(name, name) for name in names})
    if count == len(names):
        return f"{count} subject{'s' * (count != 1)}"
    return f"{len(names)} scans of {count} person{'s' * (count != 1)}"


@dataclass(frozen=True)
class MaskFile:
    """A mask's file, the contrast it is named after and its rater ("" where names tell none)."""

    path: Path | None  # None: there is nothing of the target
    contrast: str = ""
    rater: str = ""


@dataclass
class SubjectFiles:
    """Every file that could belong to one subject, before it is validated."""

    name: str
    columns: dict[str, str]
    images: defaultdict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    labels: defaultdict[str, list[MaskFile]] = field(default_factory=lambda: defaultdict(list))
    confidences: defaultdict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    """Target -> its maps of confidence, of which there must be one."""
    rois: list[MaskFile] = field(default_factory=list)
    searched: Mapping[str, str] = field(default_factory=dict)
    """Where the loader searched, as a path with `*`: `image <contrast>`, `roi`, `mask <target>`
    (where {rater} stands for a rater), `confidence <target>`, and of tables `mask <target> by rater
    <rater>`."""
    frames: dict[str, Frame] = field(default_factory=dict)
    missing_raters: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Target -> raters whose mask a table names, although there is no such file."""
    ignore: tuple[float, ...] = ()
    """The codes that the dataset itself says to ignore, for targets without `ignore`."""
    is_named: bool = False
    """Whether a table names files of this subject, which is then never silently left out."""

    def __post_init__(self) -> None:
        """Strip the cells of tables; a subject's name is that of its files and stays."""
        self.columns = {
            name: value if name == "subject" else value.strip()
            for name, value in self.columns.items()
        }

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

    A missing value is never one of them; subjects left out for it are reported. Raises UserError
    for a column or a value that no subject has, and if no subject fits them all.
    """
    if not candidates:
        return []
    selected = list(candidates)
    for column, values in include.items():
        cells = {files.name: files.columns.get(column, "") for files in candidates}
        available = {cell for cell in cells.values() if column == "subject" or not is_missing(cell)}
        if not any(column in files.columns for files in candidates):
            columns = {name for files in candidates for name in files.columns}
            raise UserError(f"dataset.include: {unknown_name('column', column, columns)}")
        wanted = [str(value) for value in values]
        for value in wanted:
            if value not in available:
                message = no_subject_has(column, value, available)
                raise UserError(f"dataset.include.{column}: {message}")
        if unknown := [name for name, cell in cells.items() if cell not in available]:
            message = "dataset.include.%s: %s left out, as their %s is missing (n/a or empty)"
            _log.warning(message, column, listing(unknown), column)
        selected = [files for files in selected if cells[files.name] in wanted]
    if not selected:
        raise UserError(
            f"dataset.include: no subject fits all of {listing(include)}; remove one of them"
        )
    return selected


def no_subject_has(column: str, value: str, available: Collection[str]) -> str:
    """Return the message that no subject has a value in a column, with the available values."""
    if column == "subject":
        return unknown_name("subject", value, available)
    near = did_you_mean(value, available)
    return f"no subject has {column} '{value}'{near}; values are {listing(available)}"


class DatasetError(UserError):
    """Files are missing or ambiguous: all `problems`, and the `sound` subjects without any."""

    def __init__(self, message: str, problems: list[str], sound: list[Subject]) -> None:
        super().__init__(message)
        self.problems, self.sound = problems, sound
