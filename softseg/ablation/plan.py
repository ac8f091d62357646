"""The runs of an ablation: every candidate on every split, with the same sets and seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from softseg.ablation.design import Design, run_seed
from softseg.config.experiment import Experiment
from softseg.core.errors import UserError
from softseg.data import Sets, Split, Subject
from softseg.data.leaks import check_leaks, person_leaks
from softseg.runs.data import list_subjects, warn_of_values
from softseg.runs.file_digests import FileDigests, digest_files
from softseg.runs.folder import Run


@dataclass(frozen=True)
class PlannedRun:
    """One run of the plan: a candidate to train and evaluate on one split."""

    number: int  # in the whole plan, from 0
    candidate: str
    split: int  # from 0
    experiment: Experiment
    sets: Sets
    run: Run
    subjects: tuple[Subject, ...] = ()  # of the sets
    files: FileDigests = field(default_factory=dict)  # theirs, when the command started

    @property
    def name(self) -> str:
        """`Soft-ReLU-Wing/split-3`."""
        return f"{self.candidate}/split-{self.split}"

    @property
    def root(self) -> Path:
        """The folder of its dataset."""
        return self.experiment.dataset.existing_root()


def make_plan(design: Design, folder: Path, console: Console) -> list[PlannedRun]:
    """Return all runs, ordered by split, so that the first ones already compare every candidate.

    Raises UserError for missing data, an impossible split, and candidates with different sets.
    """
    ablation = design.ablation
    subjects = _subjects_by_candidate(design, console)
    plan: list[PlannedRun] = []
    for k, split in enumerate(ablation.splits(subjects[ablation.compared_with], ablation.seed)):
        seed = run_seed(ablation.seed, k)
        sets = _common_sets(subjects, split, seed, k)
        if not sets.test:
            fix = f"name at least one subject in {split.file}" if split.file else "name a subject"
            if split.file and Path(split.file).name == "splits_final.json":
                fix = "nnU-Net's folds have none: see From nnU-Net in the manual"
            raise UserError(
                f"split {k}: its test set is empty, but an ablation compares test scores; {fix}"
            )
        for candidate, base in design.experiments.items():
            experiment = base.model_copy(update={"seed": seed, "split": split})
            run = Run(folder / candidate / f"split-{k}")
            used = tuple(s for s in subjects[candidate] if s.name in sets.members)
            plan.append(PlannedRun(len(plan), candidate, k, experiment, sets, run, used))
    warn_of_values(plan[0].experiment, subjects[plan[0].candidate])
    return plan


def with_file_digests(plan: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Return the runs with the digests of their subjects' files, each of which is read once."""
    known: dict[Path, str] = {}
    return [
        replace(planned, files=digest_files(planned.subjects, planned.root, known))
        for planned in plan
    ]


def pick(
    plan: Sequence[PlannedRun], candidates: str | None, splits: str | None, run_index: int | None
) -> list[PlannedRun]:
    """Return the runs that the command line selects.

    Args:
        plan: All runs.
        candidates: Names, separated by commas.
        splits: A number N (the first N splits), or numbers and ranges (`0,3-5`; `2-2` is split 2
            alone).
        run_index: The number of one run in the plan.

    Raises UserError for what is not in the plan.
    """
    if run_index is not None and not 0 <= run_index < len(plan):
        raise UserError(
            f"--run-index {run_index}: the plan has runs 0 to {len(plan) - 1}; see --plan"
        )
    available = list(dict.fromkeys(planned.candidate for planned in plan))
    names = available if candidates is None else [name.strip() for name in candidates.split(",")]
    for name in names:
        if name not in available:
            raise UserError(
                f"--candidates: no candidate `{name}`; candidates are {', '.join(available)}"
            )
    numbers = _split_numbers(splits, 1 + max(planned.split for planned in plan))
    picked = [
        planned
        for planned in plan
        if planned.candidate in names
        and planned.split in numbers
        and run_index in (None, planned.number)
    ]
    if not picked:
        raise UserError(
            f"--run-index {run_index} is not among the runs that --candidates and --splits select"
        )
    return picked


def _subjects_by_candidate(design: Design, console: Console) -> dict[str, list[Subject]]:
    """The subjects of each candidate; candidates with equal `dataset` sections share the list."""
    subjects_of_section: dict[str, list[Subject]] = {}
    subjects = {}
    for name, experiment in design.experiments.items():
        section = experiment.dataset.model_dump_json()
        if section not in subjects_of_section:
            subjects_of_section[section] = list_subjects(experiment, console)
        subjects[name] = subjects_of_section[section]
    return subjects


def _common_sets(
    subjects: Mapping[str, Sequence[Subject]], split: Split, seed: int, k: int
) -> Sets:
    """The sets of split `k`. Raises UserError unless they are the same for all candidates."""
    try:
        sets = {candidate: split(available, seed) for candidate, available in subjects.items()}
        leaks = [leak for name in sets for leak in person_leaks(subjects[name], sets[name])]
        check_leaks(list(dict.fromkeys(leaks)), split)
    except UserError as error:
        raise UserError(f"split {k}: {with_keys_of_splits(str(error))}") from None
    [(first, first_sets), *others] = sets.items()
    for candidate, other_sets in others:
        if other_sets != first_sets:
            raise UserError(
                f"split {k}: {first} and {candidate} would have different subjects, because their "
                "dataset sections find different ones; candidates need the same subjects to be "
                "compared"
            )
    return first_sets


def with_keys_of_splits(message: str) -> str:
    """Return a message about `split` with the keys that an ablation has, under `splits`."""
    keys = "by|test|validation|within|folds|missing|allow_leak"
    return re.sub(rf"\bsplit\.(?=({keys})\b)", "splits.", message)


def _split_numbers(text: str | None, count: int) -> set[int]:
    """The splits that `--splits` selects: `3` -> {0, 1, 2}; `0,3-5` -> {0, 3, 4, 5}."""
    if text is None:
        return set(range(count))
    if not re.fullmatch(r"\d{1,9}(-\d{1,9})?(,\d{1,9}(-\d{1,9})?)*", text):
        raise UserError(f"--splits {text}: write a number of splits (3) or a selection (0,3-5)")
    spans = [[int(end) for end in part.split("-")] for part in text.split(",")]
    if spans == [[spans[0][0]]]:  # a number alone is a count
        spans = [[0, spans[0][0] - 1]]
    if any(not 0 <= span[0] <= span[-1] < count for span in spans):
        raise UserError(
            f"--splits {text}: the plan has splits 0 to {count - 1}; a number alone is a count, "
            "and 0-0 is split 0 alone"
        )
    return {number for span in spans for number in range(span[0], span[-1] + 1)}
