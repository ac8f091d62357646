"""A subject: one session of one person, and the files that belong to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from softseg.core.errors import UserError
from softseg.core.names import did_you_mean, listing, unknown_name


@dataclass(frozen=True)
class Subject:
    """The files of one subject, none of which has been opened yet."""

    name: str
    """Unique in the data set: `site1-sc01`, `sub-X`, `sub-X_ses-Y`."""
    images: dict[str, Path]
    """Contrast -> file, in the order of the config."""
    labels: dict[str, dict[str, Path]]
    """Target -> rater -> file; without raters the only rater is the empty name."""
    roi: Path | None
    """Mask of the region of interest, if the data set has one."""
    columns: Mapping[str, str]
    """What splits can go by: `subject` (the person; shared by the sessions of one), placeholders
    such as `center` and `session`, and the columns of participants.tsv or the table."""

    @property
    def person(self) -> str:
        """The person who was scanned, the same for all sessions of one person.

        It is in the column `person` if sessions are subjects by themselves (`sub-9709Ses1`).
        """
        person = self.columns.get("person", "n/a")
        return self.columns.get("subject", self.name) if person in ("", "n/a") else person


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
