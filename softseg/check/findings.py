"""Findings (errors that training rejects, warnings to look at, notes) and the result of a check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from softseg.check.summaries import FileSummary
from softseg.core.names import natural_key
from softseg.data.splits import Sets
from softseg.data.subject import Subject

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """A message about one file, one subject, or (without either) the data set."""

    severity: Severity
    kind: str
    """What findings are grouped by, e.g. `empty mask`."""
    what: str
    do: str
    """What the user can do about it."""
    subject: str = ""
    path: Path | None = None

    def __str__(self) -> str:
        """One line: `<path or subject>: <what>; <what to do>`."""
        place = self.subject if self.path is None else str(self.path)
        line = f"{self.what}; {self.do}"
        return f"{place}: {line}" if place else line


@dataclass(frozen=True)
class CheckResult:
    """The files of a data set and what was found in them."""

    root: Path
    subjects: tuple[Subject, ...]
    sets: Sets | None
    """None if the subjects could not be divided."""
    files: tuple[FileSummary, ...]
    """Of each subject in turn, every file that could be read."""
    findings: tuple[Finding, ...]
    """Errors first, then warnings and notes; each kind in natural order."""

    def of(self, severity: Severity) -> list[Finding]:
        """Return the errors, the warnings or the notes."""
        return [finding for finding in self.findings if finding.severity == severity]


def sort_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return distinct findings: errors first, then by kind, subject and path in natural order."""

    def key(finding: Finding) -> tuple[object, ...]:
        severity = SEVERITIES.index(finding.severity)
        path = "" if finding.path is None else finding.path.as_posix()
        names = natural_key(finding.subject), natural_key(path)
        return (severity, finding.kind, *names, finding.what)

    return tuple(sorted(dict.fromkeys(findings), key=key))
