"""What an ablation's folder holds already, and whether it is of the same plan."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from softseg.ablation.design import Design
from softseg.ablation.plan import PlannedRun
from softseg.config.experiment import Experiment
from softseg.config.load import dump
from softseg.core.errors import UserError, combined_error
from softseg.core.files import write_atomically
from softseg.data import read_split
from softseg.preprocess.cache.shared_stack import share
from softseg.preprocess.stack import SliceStack
from softseg.runs.data import check_sets, list_subjects, load_stack
from softseg.runs.folder import Run, is_done
from softseg.runs.plan_file import CONFIG, PLAN, STACKS
from softseg.runs.resume import differences, with_recorded_hardware
from softseg.training.initial_weights import weights_of


def check_existing(plan: Sequence[PlannedRun], folder: Path) -> None:
    """Refuse to go on in a folder whose runs were made with another configuration or sets."""
    if Run(folder).exists():
        raise UserError(f"{folder} is a training's own folder; choose another --out")
    problems = []
    for one in plan:
        differing = differences(one.run, with_recorded_hardware(one.experiment, one.run))
        if one.run.split.is_file() and read_split(one.run.split) != one.sets:
            differing.append("its subjects: the data set has changed since")
        if differing:
            problems.append(f"{one.run.folder}: {'; '.join(differing)}")
    if problems:
        raise combined_error(
            f"{len(problems)} run(s) in {folder} were made otherwise than planned now; choose "
            "another --out, or delete them. They differ in:",
            problems,
        )


def check_sources(todo: Sequence[PlannedRun], plan: Sequence[PlannedRun]) -> None:
    """Read once each the weights that runs will start from: the last one's turn may come in days.

    Those of another run of the plan may come to be until then. Raises UserError where there are
    none.
    """
    made = {one.run.folder.resolve() for one in plan}
    waiting = [one for one in todo if not one.run.last.exists()]
    sought = {one.experiment.init_from.model: one for one in waiting if one.experiment.init_from}
    for path, one in sought.items():
        if Path(path).resolve() in made:
            continue
        try:
            weights_of(Path(path))
        except UserError as error:
            raise UserError(f"candidate {one.candidate}: {error}") from None


def write_plan(design: Design, plan: Sequence[PlannedRun], folder: Path) -> None:
    """Keep the ablation's configuration and its runs beside them, for the report."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / CONFIG, dump(design.ablation))
    splits = {one.split: asdict(one.sets) for one in plan}
    runs = [{"candidate": one.candidate, "split": one.split} for one in plan]
    write_atomically(folder / PLAN, json.dumps({"runs": runs, "splits": splits}, indent=1) + "\n")


def drop_stacks(plan: Sequence[PlannedRun], folder: Path) -> None:
    """Delete the shared slices once no run of the whole plan needs them."""
    if all(is_done(one.run) for one in plan):
        shutil.rmtree(folder / STACKS, ignore_errors=True)


def share_stacks(plan: Sequence[PlannedRun], folder: Path, console: Console) -> dict[int, Path]:
    """Run's number -> the file with its slices, one for all runs with the same preprocessing.

    Raises UserError for bad data, and for sets that cannot train, before any run starts.
    """
    files: dict[int, Path] = {}
    for alike in _recipes(plan):
        stack = _stack(alike, console)
        _check_all(alike, stack)
        path = share(stack, folder)
        files |= {one.number: path for one in alike}
    return files


def _recipes(plan: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    """The runs whose data are the same: equal dataset, preprocess and slices sections, and losses
    that need the same maps."""
    groups: dict[str, list[PlannedRun]] = {}
    for one in plan:
        groups.setdefault(_recipe(one.experiment), []).append(one)
    return list(groups.values())


def _recipe(experiment: Experiment) -> str:
    sections = experiment.model_dump_json(include={"dataset", "preprocess", "slices"})
    return f"{sections} {experiment.loss.required_maps}"


def _stack(alike: Sequence[PlannedRun], console: Console) -> SliceStack:
    """The slices of every subject that any of these runs uses."""
    experiment = alike[0].experiment
    used = frozenset[str]().union(*(one.sets.members for one in alike))
    subjects = [one for one in list_subjects(experiment, console) if one.name in used]
    return load_stack(experiment, subjects, console)


def _check_all(alike: Sequence[PlannedRun], stack: SliceStack) -> None:
    """The sets are those of a split, whatever the candidate: each is looked at once."""
    for one in {one.split: one for one in alike}.values():
        try:
            check_sets(one.experiment, stack, one.sets)
        except UserError as error:
            raise UserError(f"{one.name}: {error}") from None
