"""A subject: one session of one person, and the files that belong to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from softseg.core.errors import UserError


@dataclass(frozen=True)
class Subject:
    """What a loader found for one subject; nothing of it has been opened yet."""

    name: str
    """Unique in the data set: `site1-sc01`, `sub-X`, `sub-X_ses-Y`."""
    images: dict[str, Path]
    """Contrast -> file, in the order of the config."""
    labels: dict[str, dict[str, Path]]
    """Target -> rater -> file; without raters the only rater is the empty name."""
    roi: Path | None
    """Mask of the region of interest, where the data set has one."""
    columns: Mapping[str, str]
    """What splits can go by: `subject` (the person; shared by the sessions of one), placeholders
    such as `center` and `session`, and the columns of participants.tsv or the table."""

    @property
    def person(self) -> str:
        """Who was scanned: the sessions of one person share it.

        A column `person` tells it where sessions are subjects by themselves (`sub-9709Ses1`).
        """
        told = self.columns.get("person", "n/a")
        return self.columns.get("subject", self.name) if told in ("", "n/a") else told


class DatasetError(UserError):
    """Files are missing or ambiguous: all `problems`, and the `sound` subjects beside them."""

    def __init__(self, message: str, problems: list[str], sound: list[Subject]) -> None:
        super().__init__(message)
        self.problems, self.sound = problems, sound
