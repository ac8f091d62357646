"""What was found: errors (training refuses it), warnings (look at it) and notes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from softseg.core.names import natural_key
from softseg.data.nifti.file_error import FileError

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing about one file, one subject, or (without either) the data set."""

    severity: Severity
    kind: str
    """What findings are grouped by, e.g. `empty mask`."""
    what: str
    do: str
    """What to do about it."""
    subject: str = ""
    path: Path | None = None

    def __str__(self) -> str:
        """One line: `<path or subject>: <what>; <what to do>`."""
        place = self.subject if self.path is None else str(self.path)
        line = f"{self.what}; {self.do}"
        return f"{place}: {line}" if place else line


def refused(subject: str, error: FileError) -> Finding:
    """A file that training would refuse."""
    path, what, do = error.args
    return Finding("error", "refused file", what, do, subject, path)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first; then by kind, each kind's in natural order of subjects and paths."""
    return tuple(sorted(dict.fromkeys(findings), key=_place))


def _place(one: Finding) -> tuple[object, ...]:
    path = "" if one.path is None else one.path.as_posix()
    return (
        SEVERITIES.index(one.severity),
        one.kind,
        natural_key(one.subject),
        natural_key(path),
        one.what,
    )
