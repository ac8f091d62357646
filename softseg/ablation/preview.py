"""`softseg ablate --plan`: the runs, how they stand, and how long the missing ones will take."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from softseg.ablation.folder import check_existing, share_stacks
from softseg.ablation.plan import PlannedRun
from softseg.ablation.progress import epochs_of
from softseg.preprocess.cache.shared_stack import read_shared
from softseg.runs.build import resolve_hardware
from softseg.runs.folder import is_done, seconds_by_stage
from softseg.runs.plan_file import STACKS
from softseg.training.run_summary import VALIDATION_SHARE
from softseg.training.task import new_state, task_of
from softseg.training.timing import bare_step_seconds, steps_per_epoch


def show_plan(
    plan: Sequence[PlannedRun],
    picked: Sequence[PlannedRun],
    folder: Path,
    console: Console,
    jobs: int,
) -> None:
    """Print the picked runs and an estimate; nothing is trained.

    Where no run is done yet, a few steps of each candidate are timed on this machine.
    """
    check_existing(plan, folder)
    console.print(_table(picked))
    todo = [one for one in picked if not is_done(one.run)]
    done = [one for one in plan if is_done(one.run)]
    if not todo:
        console.print("all of them are done")
        return
    if done:
        seconds, source = _from_done(done, todo), f"the {len(done)} done"
    else:
        stacks = share_stacks(todo, folder / STACKS, console)
        seconds, source = _from_steps(todo, stacks), "a few steps of each, without scoring"
    left = timedelta(seconds=round(seconds / jobs))
    console.print(
        f"{len(todo)} of {len(picked)} runs to do: at most about {left} with --jobs {jobs} on this "
        f"machine (from {source})",
        highlight=False,
    )


def _table(picked: Sequence[PlannedRun]) -> Table:
    table = Table("run", "candidate", "split", "training", "validation", "test", "state")
    for one in picked:
        sets = one.sets
        sizes = [str(len(names)) for names in (sets.train, sets.validation, sets.test)]
        table.add_row(str(one.number), one.candidate, str(one.split), *sizes, _state(one))
    return table


def _state(one: PlannedRun) -> str:
    if is_done(one.run):
        return "done"
    if one.run.exists():
        return f"epoch {epochs_of(one.run)} of {one.experiment.trainer.max_epochs}"
    return "failed" if one.run.failure.exists() else "to do"


def _from_done(done: Sequence[PlannedRun], todo: Sequence[PlannedRun]) -> float:
    """Seconds of all missing runs, from those of the same candidate, or of any."""
    known: dict[str, list[float]] = {}
    for one in done:
        known.setdefault(one.candidate, []).append(sum(seconds_by_stage(one.run).values()))
    every = [seconds for several in known.values() for seconds in several]
    return sum(statistics.median(known.get(one.candidate, every)) for one in todo)


def _from_steps(todo: Sequence[PlannedRun], stacks: Mapping[int, Path]) -> float:
    """Seconds of all missing runs, from their first candidate's steps."""
    first = {one.candidate: one for one in reversed(todo)}
    each = {name: _seconds(one, stacks[one.number]) for name, one in first.items()}
    return sum(each[one.candidate] for one in todo)


def _seconds(one: PlannedRun, stack: Path) -> float:
    experiment = resolve_hardware(one.experiment)
    task = task_of(experiment, one.sets, read_shared(stack))
    state = new_state(experiment, torch.device(experiment.trainer.device))
    step = bare_step_seconds(state, task, repeats=3, warm_up=1)
    epochs = experiment.trainer.max_epochs
    return step * steps_per_epoch(task) * epochs * (1 + VALIDATION_SHARE)
