"""The runs of an ablation: every candidate on every split, with the same sets and seeds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from softseg.ablation.design import Design
from softseg.config.experiment import Experiment
from softseg.core.errors import UserError
from softseg.data import Sets, Split, Subject
from softseg.runs.data import list_subjects
from softseg.runs.folder import Run


@dataclass(frozen=True)
class PlannedRun:
    """One run: a candidate trained and scored on one split."""

    number: int  # in the whole plan, from 0
    candidate: str
    split: int  # from 0
    experiment: Experiment
    sets: Sets
    run: Run

    @property
    def name(self) -> str:
        """`Soft-ReLU-Wing/split-3`."""
        return f"{self.candidate}/split-{self.split}"


def make_plan(design: Design, folder: Path, console: Console) -> list[PlannedRun]:
    """All runs, split by split, so that the first ones already compare every candidate.

    Raises UserError for data that are missing, a split that cannot be made, and candidates whose
    sets would differ.
    """
    found = _subjects(design, console)
    plan: list[PlannedRun] = []
    for k, split in enumerate(_splits(design, found)):
        seed = design.ablation.seed + k
        sets = _sets(found, split, seed, k)
        for candidate, experiment in design.experiments.items():
            one = experiment.model_copy(update={"seed": seed, "split": split})
            run = Run(folder / candidate / f"split-{k}")
            plan.append(PlannedRun(len(plan), candidate, k, one, sets, run))
    return plan


def pick(
    plan: Sequence[PlannedRun], candidates: str | None, splits: str | None, run_index: int | None
) -> list[PlannedRun]:
    """The runs that the command line asks for.

    `candidates`: names, with commas. `splits`: a number N (the first N), or numbers and ranges
    (`0,3-5`; `2-2` is split 2 alone). `run_index`: one run by its number in the plan.

    Raises UserError for what is not in the plan.
    """
    if run_index is not None and not 0 <= run_index < len(plan):
        raise UserError(
            f"--run-index {run_index}: the plan has runs 0 to {len(plan) - 1}; see --plan"
        )
    names = _names(candidates, list(dict.fromkeys(one.candidate for one in plan)))
    numbers = _numbers(splits, 1 + max(one.split for one in plan))
    picked = [
        one
        for one in plan
        if one.candidate in names and one.split in numbers and run_index in (None, one.number)
    ]
    if not picked:
        raise UserError(
            f"--run-index {run_index} is none of the runs that --candidates and --splits leave"
        )
    return picked


def _subjects(design: Design, console: Console) -> dict[str, list[Subject]]:
    """The subjects of each candidate; candidates with one `dataset` section share the list."""
    known: dict[str, list[Subject]] = {}
    for experiment in design.experiments.values():
        key = experiment.dataset.model_dump_json()
        known[key] = known.get(key) or list_subjects(experiment, console)
    return {
        name: known[experiment.dataset.model_dump_json()]
        for name, experiment in design.experiments.items()
    }


def _splits(design: Design, found: dict[str, list[Subject]]) -> list[Split]:
    ablation = design.ablation
    return ablation.splits(found[ablation.compared_with], ablation.seed)


def _sets(found: dict[str, list[Subject]], split: Split, seed: int, k: int) -> Sets:
    """Who trains, validates and tests; refused where candidates would not agree on it."""
    try:
        sets = {candidate: split(subjects, seed) for candidate, subjects in found.items()}
    except UserError as error:  # `splits` has the keys of `split`
        said = re.sub(r"^split\.(?=(by|test|validation|within|folds)\b)", "splits.", str(error))
        raise UserError(f"split {k}: {said}") from None
    [first, *others] = sets.items()
    for candidate, theirs in others:
        if theirs != first[1]:
            raise UserError(
                f"split {k}: {first[0]} and {candidate} would have different subjects, because "
                "their dataset sections find different ones; comparisons need the same"
            )
    return first[1]


def _names(wanted: str | None, there: list[str]) -> list[str]:
    names = there if wanted is None else [name.strip() for name in wanted.split(",")]
    for name in names:
        if name not in there:
            raise UserError(f"--candidates: no candidate `{name}`; there are {', '.join(there)}")
    return names


def _numbers(wanted: str | None, count: int) -> set[int]:
    """`3` -> {0, 1, 2}; `0,3-5` -> {0, 3, 4, 5}."""
    if wanted is None:
        return set(range(count))
    if not re.fullmatch(r"\d{1,9}(-\d{1,9})?(,\d{1,9}(-\d{1,9})?)*", wanted):
        raise UserError(f"--splits {wanted}: write how many (3), or which (0,3-5)")
    spans = [[int(end) for end in part.split("-")] for part in wanted.split(",")]
    if spans == [[spans[0][0]]]:
        spans = [[0, spans[0][0] - 1]]  # how many
    if any(not 0 <= span[0] <= span[-1] < count for span in spans):
        raise UserError(
            f"--splits {wanted}: the plan has splits 0 to {count - 1}; a number alone is how many, "
            "from the first on, and 0-0 is split 0 alone"
        )
    return {n for span in spans for n in range(span[0], span[-1] + 1)}
