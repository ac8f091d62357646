"""`softseg ablate --plan`: the runs, their states, and the time that the missing ones will take."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from softseg.ablation.folder import check_existing, write_shared_stacks
from softseg.ablation.plan import PlannedRun
from softseg.core.console import whole_seconds
from softseg.preprocess.cache.shared_stack import read_shared_stack
from softseg.runs.build import resolve_hardware
from softseg.runs.data import PreparedData
from softseg.runs.folder import is_done, read_history, seconds_by_stage
from softseg.runs.plan_file import STACKS
from softseg.training.profile import bare_step_seconds, steps_per_epoch
from softseg.training.task import build_task, new_state

_VALIDATION_SHARE = 0.3
"""Time of the validation of an epoch as a share of its training part, approximately."""


def show_plan(
    plan: Sequence[PlannedRun],
    picked: Sequence[PlannedRun],
    folder: Path,
    console: Console,
    jobs: int,
) -> None:
    """Print the picked runs and an estimate of their time; nothing is trained.

    If no run is done yet, a few steps of each candidate are timed on this machine.
    """
    check_existing(plan, folder)
    table = Table("run", "candidate", "split", "training", "validation", "test", "state")
    for planned in picked:
        sets = planned.sets
        sizes = [str(len(names)) for names in (sets.train, sets.validation, sets.test)]
        number, split = str(planned.number), str(planned.split)
        table.add_row(number, planned.candidate, split, *sizes, _state(planned))
    console.print(table)
    todo = [planned for planned in picked if not is_done(planned.run)]
    done = [planned for planned in plan if is_done(planned.run)]
    if not todo:
        console.print("all of them are done")
        return
    if done:
        seconds, source = _seconds_from_done(done, todo), f"the {len(done)} done"
    else:
        stacks = write_shared_stacks(todo, folder / STACKS, console)
        seconds, source = _seconds_from_steps(todo, stacks), "a few steps of each, no evaluation"
    console.print(
        f"{len(todo)} of {len(picked)} runs to do: at most about {whole_seconds(seconds / jobs)} "
        f"with --jobs {jobs} on this machine (estimated from {source})",
        highlight=False,
    )


def _state(planned: PlannedRun) -> str:
    """`done`, `epoch 3 of 200`, `failed` or `to do`."""
    if is_done(planned.run):
        return "done"
    if planned.run.exists():
        epochs = planned.experiment.trainer.max_epochs
        return f"epoch {len(read_history(planned.run.folder))} of {epochs}"
    return "failed" if planned.run.failure.exists() else "to do"


def _seconds_from_done(done: Sequence[PlannedRun], todo: Sequence[PlannedRun]) -> float:
    """Seconds of all missing runs, each the median of its candidate's runs done, or of all."""
    seconds: dict[str, list[float]] = {}
    for planned in done:
        total = sum(seconds_by_stage(planned.run).values())
        seconds.setdefault(planned.candidate, []).append(total)
    of_all = [total for totals in seconds.values() for total in totals]
    return sum(statistics.median(seconds.get(planned.candidate, of_all)) for planned in todo)


def _seconds_from_steps(todo: Sequence[PlannedRun], stacks: Mapping[int, Path]) -> float:
    """Seconds of all missing runs, from a few timed steps of the first run of each candidate."""
    first_runs = {planned.candidate: planned for planned in reversed(todo)}
    seconds: dict[str, float] = {}
    for candidate, planned in first_runs.items():
        experiment = resolve_hardware(planned.experiment)
        stack = read_shared_stack(stacks[planned.number])
        task = build_task(experiment, PreparedData(planned.sets, stack))
        state = new_state(experiment, torch.device(experiment.trainer.device))
        step_seconds = bare_step_seconds(state, task, repeats=3, warm_up=1)
        epoch_seconds = step_seconds * steps_per_epoch(task)
        epochs = experiment.trainer.max_epochs
        seconds[candidate] = epoch_seconds * epochs * (1 + _VALIDATION_SHARE)
    return sum(seconds[planned.candidate] for planned in todo)
