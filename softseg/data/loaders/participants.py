"""The tables of a BIDS dataset: participants.tsv, and one of the sessions of each person."""

from __future__ import annotations

import logging
from pathlib import Path

from softseg.core.errors import UserError
from softseg.core.names import listing
from softseg.data.loaders.table import SessionRows, read_session_rows

_log = logging.getLogger(__name__)


class ParticipantTables:
    """The columns of persons and sessions that splits can use.

    Few splits need them, so a table that cannot be used is a warning; a split by one of its columns
    then stops because the column does not exist.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / "participants.tsv"
        self._participants = _read_or_warn(self._path, "participant_id")
        self._without_line: list[str] = []

    def row(self, person: str, session: str) -> dict[str, str]:
        """Return the columns of a session: those of its person and its own, which take precedence.

        `person` is `sub-X`, `session` is `ses-Y` or empty.
        """
        names = (person, person.removeprefix("sub-"))
        row = self._participants.find(names, session)
        if row is None:
            self._without_line.append(f"{person}_{session}" if session else person)
        path = self._root / person / f"{person}_sessions.tsv"
        sessions = _read_or_warn(path, "session_id").lines if session else {}
        of_session = sessions.get(session) or sessions.get(session.removeprefix("ses-")) or {}
        return {**(row or {}), **of_session.get("", {})}

    def warn_of_missing_lines(self) -> None:
        """Log which of the scans that `row` was called for have no line in participants.tsv."""
        lines = self._participants.lines
        if lines and self._without_line:
            _log.warning(
                "%s: no line for %s; add one (its lines are for %s), or splits by its columns "
                "have no value for them",
                self._path, listing(self._without_line), listing(lines, 5),
            )  # fmt: skip


def _read_or_warn(path: Path, key: str) -> SessionRows:
    """Return a table; without lines if there is none, or, after a warning, it cannot be used."""
    try:
        return read_session_rows(path, key) if path.is_file() else SessionRows({})
    except UserError as error:
        _log.warning("%s. Its columns are not used", error)
        return SessionRows({})
