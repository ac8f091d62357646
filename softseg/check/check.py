"""Check a data set: find and divide its subjects, read every file once, report problems."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from softseg.check.check_subject import check_subject
from softseg.check.file_checks import find_outliers, find_unusual_files
from softseg.check.findings import CheckResult, Finding, sort_findings
from softseg.check.split_checks import (
    find_duplicates,
    find_groups_in_several_sets,
    find_targets_without_foreground,
)
from softseg.check.summaries import FileSummary
from softseg.check.tables import write_pairs
from softseg.core.errors import UserError
from softseg.data import Dataset, DatasetError, Split
from softseg.data.loaders.base import DatasetFields
from softseg.data.splits import Sets
from softseg.data.subject import Subject

THREADS = min(os.cpu_count() or 1, 8)
"""Subjects in memory at a time."""


def check_dataset(
    dataset: Dataset, split: Split, seed: int, console: Console, pairs: Path | None = None
) -> CheckResult:
    """Find, divide and check a data set's subjects; write the table of pairs if there is a path.

    Files that are missing or bad and a split that is impossible are errors among the findings. Only
    a data set without any subject raises UserError.
    """
    problems: list[Finding] = []
    sets = None
    try:
        subjects = dataset()
    except DatasetError as error:
        subjects = error.sound
        do = "fix it, or leave the subject out with dataset.exclude"
        for problem in error.problems:
            name, _, what = problem.partition(": ")
            problems.append(Finding("error", "missing or ambiguous file", what, do, name))
    else:
        try:
            sets = split(subjects, seed)
        except UserError as error:
            do = "correct the section `split`"
            problems.append(Finding("error", "split", str(error), do))
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=len(subjects))
        result = check_files(subjects, dataset, lambda: bar.advance(task), sets)
    if sets is not None:
        problems += find_groups_in_several_sets(subjects, split, sets)
    result = replace(result, findings=sort_findings([*result.findings, *problems]))
    if pairs is not None:
        write_pairs(pairs, result)
    return result


def check_files(
    subjects: Sequence[Subject],
    dataset: DatasetFields,
    advance: Callable[[], None] = lambda: None,
    sets: Sets | None = None,
    threads: int = THREADS,
) -> CheckResult:
    """Read every file of the subjects once, `threads` subjects at a time; keep summaries only.

    `advance` is called after each subject. A file that training would reject is an error among the
    findings; all others are read regardless. With `sets`, the split is checked, too.
    """
    files: list[FileSummary] = []
    findings: list[Finding] = []
    with ThreadPoolExecutor(threads) as pool:  # unpacking and sums release the interpreter's lock
        for summaries, problems in pool.map(partial(_check_subject, dataset=dataset), subjects):
            files += summaries
            findings += problems
            advance()
    findings += [*find_unusual_files(files, dataset), *find_outliers(files)]
    findings += find_duplicates(files, sets)
    if sets is not None:
        findings += find_targets_without_foreground(list(dataset.targets), files, sets)
    root = Path(dataset.root).expanduser()
    return CheckResult(root, tuple(subjects), sets, tuple(files), sort_findings(findings))


def _check_subject(
    subject: Subject, dataset: DatasetFields
) -> tuple[list[FileSummary], list[Finding]]:
    """Check one subject; an error of the operating system is a finding, too."""
    try:
        return check_subject(subject, dataset)
    except OSError as error:  # a folder without permission, a disk that fails
        what, do = error.strerror or str(error), "check its disk and its permissions"
        path = Path(error.filename) if error.filename else None
        return [], [Finding("error", "rejected file", what, do, subject.name, path)]
