"""Every file of some subjects read once, a few subjects at a time, and what is odd about them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from softseg.check.check_subject import read_subject
from softseg.check.findings import Finding, Severity, in_order
from softseg.check.oddities import oddities, outliers
from softseg.check.split import duplicates, untaught_targets
from softseg.check.volume_statistics import FileFacts
from softseg.data.loaders.base import DatasetFields
from softseg.data.splits import Sets
from softseg.data.subject import Subject

AT_ONCE = min(os.cpu_count() or 1, 8)
"""Subjects in memory at a time."""
Tick = Callable[[], None]


@dataclass(frozen=True)
class Checked:
    """All that is known about a data set's files."""

    root: Path
    subjects: tuple[Subject, ...]
    sets: Sets | None
    """None where the subjects could not be divided."""
    files: tuple[FileFacts, ...]
    """Of each subject in turn, every file that could be read."""
    findings: tuple[Finding, ...]
    """Errors first, then warnings and notes; each kind in natural order."""

    def of(self, severity: Severity) -> list[Finding]:
        """The errors, the warnings or the notes."""
        return [one for one in self.findings if one.severity == severity]


def check_files(
    subjects: Sequence[Subject],
    dataset: DatasetFields,
    tick: Tick = lambda: None,
    sets: Sets | None = None,
    threads: int = AT_ONCE,
) -> Checked:
    """Read every file of the subjects once, `threads` subjects at a time; keep only facts.

    `tick` is called after each subject. A file that training would refuse is an error among the
    findings, and the others are read all the same. With `sets`, what the split gets wrong is
    found, too.
    """
    files: list[FileFacts] = []
    findings: list[Finding] = []
    with ThreadPoolExecutor(threads) as pool:  # unpacking and sums release the interpreter's lock
        for facts, problems in pool.map(partial(_read, dataset=dataset), subjects):
            files += facts
            findings += problems
            tick()
    findings += [*oddities(files, dataset), *outliers(files), *duplicates(files, sets)]
    findings += untaught_targets(list(dataset.targets), files, sets) if sets else ()
    root = Path(dataset.root).expanduser()
    return Checked(root, tuple(subjects), sets, tuple(files), in_order(findings))


def _read(subject: Subject, dataset: DatasetFields) -> tuple[list[FileFacts], list[Finding]]:
    try:
        return read_subject(subject, dataset)
    except OSError as error:  # a folder that may not be entered, a disk that fails
        what, do = error.strerror or str(error), "check its disk and its permissions"
        path = Path(error.filename) if error.filename else None
        return [], [Finding("error", "refused file", what, do, subject.name, path)]
