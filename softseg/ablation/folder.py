"""The folder of an ablation: checks against earlier runs, the plan file and the shared slices."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from softseg.ablation.design import Design
from softseg.ablation.plan import PlannedRun, with_keys_of_splits
from softseg.config.load import dump
from softseg.core.errors import UserError, combined_error
from softseg.core.files import check_writable, write_atomically
from softseg.core.names import listing
from softseg.data import read_split
from softseg.preprocess.store import write_shared_store
from softseg.runs.data import check_sets, list_subjects, load_store
from softseg.runs.file_digests import changed_files
from softseg.runs.folder import Run, check_distinct_predictions, is_done
from softseg.runs.plan_file import CONFIG, PLAN, STACKS
from softseg.runs.recorded_hardware import keys_that_may_change
from softseg.runs.resume import config_changes, with_recorded_settings
from softseg.training.fine_tuning import read_source


def check_existing(plan: Sequence[PlannedRun], folder: Path) -> None:
    """Raise UserError if runs in the folder have another configuration or other sets."""
    check_writable(folder)
    if Run(folder).exists():
        raise UserError(
            f"{folder} is the folder of a single run, not of an ablation; choose another --out"
        )
    problems = []
    scored = any(planned.run.scored for planned in plan)
    for planned in plan:
        run = planned.run
        hardware = keys_that_may_change(run, planned.experiment.trainer)
        changes = [
            change
            for change in config_changes(run, with_recorded_settings(planned.experiment, run))
            if change.key not in hardware
        ]
        # scores of several evaluation settings could not be compared
        differing = [str(c) for c in changes if not c.keeps_training or (c.scores and scored)]
        if run.split.is_file() and read_split(run.split) != planned.sets:
            differing.append("its subjects: the dataset has changed since the run started")
        if differing:
            problems.append(f"{run.folder}: {'; '.join(differing)}")
    if problems:
        raise combined_error(
            f"{folder} contains {len(problems)} run(s) of another configuration or with other "
            "subjects. Continue with the values that they started with, choose another --out "
            "(candidates may start from their weights, with init_from), or delete them. What "
            "differs (then -> now):",
            problems,
        )


def check_same_files(plan: Sequence[PlannedRun]) -> None:
    """Raise UserError, naming subjects and files, if data have changed since a run read them.

    Scores of runs on different images or masks cannot be compared. The files themselves are
    compared, since a mask may differ outside of the slices that a run has trained on.
    """
    readers: dict[str, list[str]] = {}  # `subject: file` -> runs that have read it before
    for planned in plan:
        record = planned.run.metadata().get("file_digests", {})
        for subject, names in changed_files(record.get("subjects", {}), planned.files).items():
            for name in names:
                readers.setdefault(f"{subject}: {planned.root / name}", []).append(planned.name)
    if readers:
        raise combined_error(
            "images or masks have changed since runs of this ablation read them; restore the "
            "files, or delete these runs, as runs on different data cannot be compared:",
            (f"{file}: read by {listing(runs)}" for file, runs in sorted(readers.items())),
        )


def check_initial_weights(todo: Sequence[PlannedRun], plan: Sequence[PlannedRun]) -> None:
    """Load every `init_from` checkpoint now, so that a missing one fails before any run starts.

    Checkpoints that another run of the plan will write are skipped. Raises UserError for a missing
    or damaged one.
    """
    written_by_plan = {planned.run.folder.resolve() for planned in plan}
    starting = [planned for planned in todo if not planned.run.last.exists()]
    sources = {
        planned.experiment.init_from.model: planned.candidate
        for planned in starting
        if planned.experiment.init_from
    }
    for path, candidate in sources.items():
        if Path(path).resolve() in written_by_plan:
            continue
        try:
            read_source(Path(path))
        except UserError as error:
            raise UserError(f"candidate {candidate}: {error}") from None


def write_plan(design: Design, plan: Sequence[PlannedRun], folder: Path) -> None:
    """Write the ablation's configuration and plan.json, which the report reads."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / CONFIG, dump(design.ablation))
    splits = {planned.split: asdict(planned.sets) for planned in plan}
    runs = [{"candidate": planned.candidate, "split": planned.split} for planned in plan]
    write_atomically(folder / PLAN, json.dumps({"runs": runs, "splits": splits}, indent=1) + "\n")


def write_shared_stacks(
    plan: Sequence[PlannedRun], folder: Path, console: Console
) -> dict[int, Path]:
    """Preprocess the data of all runs; returns the file with the slices of each run, by number.

    Runs share a file if their dataset and preprocess sections and their samples are equal and their
    losses need the same maps. Raises UserError for bad data, and for sets that cannot train, before
    any run starts.
    """
    groups: dict[str, list[PlannedRun]] = {}
    for planned in plan:
        own = planned.experiment
        sections = own.model_dump_json(include={"dataset", "preprocess"})
        key = f"{sections} {own.samples.recipe} {own.loss.required_maps}"
        groups.setdefault(key, []).append(planned)
    files: dict[int, Path] = {}
    for group in groups.values():
        experiment = group[0].experiment
        used = frozenset[str]().union(*(planned.sets.members for planned in group))
        subjects = [s for s in list_subjects(experiment, console) if s.name in used]
        stack = load_store(experiment, subjects, console)
        # besides the group's sections, the check depends on the sets and on the augmentation
        checked = {(p.split, p.experiment.model_dump_json(include={"augment"})): p for p in group}
        for planned in checked.values():
            tested = [s for s in planned.subjects if s.name in planned.sets.test]
            try:
                check_distinct_predictions(planned.experiment, tested)
                check_sets(planned.experiment, stack, planned.sets)
            except UserError as error:
                raise UserError(f"{planned.name}: {with_keys_of_splits(str(error))}") from None
        path = write_shared_store(stack, folder)
        files |= {planned.number: path for planned in group}
    return files


def delete_shared_stacks(plan: Sequence[PlannedRun], folder: Path) -> None:
    """Delete the shared slices if every run of the whole plan is done."""
    if all(is_done(planned.run) for planned in plan):
        shutil.rmtree(folder / STACKS, ignore_errors=True)
