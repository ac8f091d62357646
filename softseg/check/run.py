"""A data set found, divided and checked, as the command does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from softseg.check.check import Checked, check_files
from softseg.check.findings import Finding, in_order
from softseg.check.split import torn_groups
from softseg.check.tables import write_pairs
from softseg.core.errors import UserError
from softseg.data import Dataset, DatasetError, Sets, Split, Subject


def run(
    dataset: Dataset, split: Split, seed: int, console: Console, pairs: Path | None = None
) -> Checked:
    """Find, divide and check a data set's subjects; write the table of pairs, if asked to.

    What is missing, bad or cannot be divided is an error among the findings: nothing is raised
    for it. A data set that is not there at all raises UserError.
    """
    subjects, missing = _found(dataset)
    sets, wrong = (None, []) if missing else _divided(split, subjects, seed)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=len(subjects))
        checked = check_files(subjects, dataset, lambda: bar.advance(task), sets)
    torn = torn_groups(subjects, split, sets) if sets else ()
    checked = replace(checked, findings=in_order([*checked.findings, *missing, *wrong, *torn]))
    if pairs is not None:
        write_pairs(pairs, checked)
    return checked


def _found(dataset: Dataset) -> tuple[list[Subject], list[Finding]]:
    """The subjects, and what is missing of others. Raises UserError where there is none at all."""
    try:
        return dataset(), []
    except DatasetError as error:
        do = "mend it, or leave the subject out with dataset.exclude"
        missing = [problem.partition(": ") for problem in error.problems]
        return error.sound, [
            Finding("error", "missing or ambiguous file", what, do, name)
            for name, _, what in missing
        ]


def _divided(
    split: Split, subjects: Sequence[Subject], seed: int
) -> tuple[Sets | None, list[Finding]]:
    try:
        return split(subjects, seed), []
    except UserError as error:
        return None, [Finding("error", "split", str(error), "correct the section `split`")]
