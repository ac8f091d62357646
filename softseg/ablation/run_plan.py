"""Run the missing runs of an ablation, or show them with an estimate of their time."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from softseg.ablation.auto_jobs import auto_jobs
from softseg.ablation.design import Design
from softseg.ablation.folder import (
    check_existing,
    check_initial_weights,
    check_same_files,
    delete_shared_stacks,
    write_plan,
    write_shared_stacks,
)
from softseg.ablation.jobs import run_here, run_on_cluster, start_fork_server
from softseg.ablation.plan import PlannedRun, with_file_digests
from softseg.ablation.run_one import Outcome
from softseg.core.console import ProgressBar, whole_seconds
from softseg.core.device import select_device
from softseg.core.files import read_json, remove_leftovers, temporary_files
from softseg.core.locks import check_locks
from softseg.core.memory import memory_errors
from softseg.data.subject import persons_of
from softseg.preprocess.store import read_shared_store
from softseg.render.terminal_table import TerminalTable
from softseg.runs.build import resolve_hardware
from softseg.runs.data import PreparedData
from softseg.runs.folder import is_done, read_history, seconds_by_stage
from softseg.runs.patch_size import resolve_patches
from softseg.runs.plan_file import STACKS, run_status
from softseg.training.step_times import measure_times
from softseg.training.task import build_task, new_state


def run_plan(
    design: Design,
    plan: Sequence[PlannedRun],
    picked: Sequence[PlannedRun],
    folder: Path,
    console: Console,
    jobs: int | None = 1,
    cluster: str | None = None,
) -> list[Outcome]:
    """Run the picked runs that are not done, here (None: `--jobs auto`) or on a Ray cluster.

    A run that fails is reported, and the others continue. Raises UserError for every mistake in
    data, sets or folder, before any run starts.
    """
    plan, picked = _with_checked_files(plan, picked, folder)
    todo = [planned for planned in picked if not is_done(planned.run)]
    check_initial_weights(todo, plan)
    remove_leftovers(temporary_files(folder))
    console.print(f"{len(picked) - len(todo)} of {len(picked)} runs are already done")
    if todo and cluster is None:
        for device in {planned.experiment.trainer.device for planned in todo}:
            select_device(device)  # a missing one is an error of all runs
        start_fork_server()
    stacks = write_shared_stacks(todo, folder / STACKS, console)
    write_plan(design, plan, folder)
    check_locks(folder)
    if not todo:
        return []
    if cluster is None:
        gpus = _gpus(design.ablation.trainer.device)
        jobs = jobs or auto_jobs(todo, stacks, gpus, console)
        results = run_here(todo, stacks, jobs, gpus)
    else:
        results = run_on_cluster(cluster, todo, stacks, design.ablation.cluster)
    outcomes = []
    with AblationProgress(console, todo) as progress:
        for result in results:
            if result is None:
                progress.refresh()
            else:
                planned, outcome = result
                progress.run_ended(planned, outcome)
                outcomes.append(outcome)
    delete_shared_stacks(plan, folder)
    return outcomes


def _with_checked_files(
    plan: Sequence[PlannedRun], picked: Sequence[PlannedRun], folder: Path
) -> tuple[list[PlannedRun], list[PlannedRun]]:
    """Return all runs and the picked ones with the digests of their files.

    Raises UserError if the folder has runs of another configuration or on other data.
    """
    check_existing(plan, folder)
    plan = with_file_digests(plan)
    check_same_files(plan)
    numbers = {planned.number for planned in picked}
    return plan, [planned for planned in plan if planned.number in numbers]


def _gpus(device: str) -> list[str]:
    """The CUDA devices to distribute runs over; none if trainer.device is a single one or cpu."""
    if device not in ("auto", "cuda"):
        return []
    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")  # the user's selection, if any
    return visible.split(",")[:count] if visible else [str(n) for n in range(count)]


class AblationProgress(ProgressBar):
    """Counts completed runs and epochs, and estimates the maximum time left."""

    def __init__(self, console: Console, todo: Sequence[PlannedRun]) -> None:
        super().__init__(console, "runs", len(todo), "{task.fields[status]}", status="starting")
        self._count = len(todo)
        self._remaining = {planned.number: planned for planned in todo}
        self._began = time.perf_counter()
        self._epochs_at_start = self._epochs_left()

    def refresh(self) -> None:
        """Read how many epochs the runs have completed, and show the time left."""
        if self.console.is_terminal:
            self.update(status=self._status())

    def run_ended(self, planned: PlannedRun, outcome: Outcome) -> None:
        """Print how a run ended."""
        del self._remaining[planned.number]
        done = self._count - len(self._remaining)
        self.update(completed=done)
        if outcome.status == "done":
            summary = read_json(planned.run.folder / "summary.json")
            dice = {target: metrics["dice"]["mean"] for target, metrics in summary.items()}
            result = ", ".join(
                f"{target} test Dice " + ("undefined" if mean is None else f"{mean:.1f} %")
                for target, mean in dice.items()
            )
        elif outcome.status == "failed":
            result = f"FAILED: {outcome.reason} (see {planned.run.log})"
        else:
            result = f"skipped: {outcome.reason}"
        line = f"{done}/{self._count} {planned.name}: {result} · {self._status()}"
        self.console.print(line, highlight=False, markup=False)

    def _status(self) -> str:
        """The epochs and the time left, or the time that all runs took."""
        seconds = time.perf_counter() - self._began
        if not self._remaining:
            return f"took {whole_seconds(seconds)}"
        left = self._epochs_left()
        done = self._epochs_at_start - left
        if done <= 0:
            return f"{left} epochs left at most"
        return f"{left} epochs at most, about {whole_seconds(seconds / done * left)} left"

    def _epochs_left(self) -> int:
        return sum(
            planned.experiment.trainer.max_epochs - len(read_history(planned.run.folder))
            for planned in self._remaining.values()
        )


def show_plan(
    plan: Sequence[PlannedRun],
    picked: Sequence[PlannedRun],
    folder: Path,
    console: Console,
    jobs: int | None,
) -> dict[str, Any]:
    """Print the picked runs and an estimate of their time; nothing is trained.

    If no run is done yet, a few steps of each candidate are timed on this machine. If `jobs` is
    None (`--jobs auto`), a few more are measured.

    Returns the same for programs: `runs`, each `run`, `candidate`, `split`, `training`,
    `validation`, `test` (numbers of scans) and `status`; `to_do`, the number of runs; `jobs`;
    `seconds`, the estimate for all of them.
    """
    plan, picked = _with_checked_files(plan, picked, folder)
    console.print(plan_table(picked))
    todo = [planned for planned in picked if not is_done(planned.run)]
    done = [planned for planned in plan if is_done(planned.run)]
    content: dict[str, Any] = {
        "runs": [_run_record(planned) for planned in picked],
        **{"to_do": len(todo), "jobs": jobs or 1, "seconds": 0.0},
    }
    if not todo:
        console.print("all of these runs are done")
        return content
    stacks = {} if done and jobs else write_shared_stacks(todo, folder / STACKS, console)
    if jobs is None:
        start_fork_server()
        jobs = auto_jobs(todo, stacks, _gpus(todo[0].experiment.trainer.device), console)
    if done:
        seconds, source = _seconds_from_done(done, todo), f"{len(done)} run(s) done"
    else:
        seconds, source = (
            _seconds_from_steps(todo, stacks),
            "a few steps of each candidate, without start and evaluation",
        )
    console.print(
        f"{len(todo)} of {len(picked)} runs to do: about {whole_seconds(seconds / jobs)} "
        f"with --jobs {jobs}, if this machine stays as free as now (estimated from {source})",
        highlight=False,
    )
    return content | {"jobs": jobs, "seconds": seconds / jobs}


def _run_record(planned: PlannedRun) -> dict[str, Any]:
    """Return a row of the plan, for programs."""
    sets = planned.sets
    return {
        "run": planned.number,
        "candidate": planned.candidate,
        "split": planned.split,
        "training": len(sets.train),
        "validation": len(sets.validation),
        "test": len(sets.test),
        "status": _status_text(planned),
    }


def plan_table(picked: Sequence[PlannedRun]) -> TerminalTable:
    """Return the picked runs with the number of scans in each set, and of persons if they differ.

    The sizes are `7 (4)` for seven scans of four persons.
    """
    rows = []
    for planned in picked:
        persons, sizes = persons_of(planned.subjects), []
        for names in (planned.sets.train, planned.sets.validation, planned.sets.test):
            of_set = len({persons[name] for name in names})
            sizes.append(f"{len(names)}" + (f" ({of_set})" if of_set < len(names) else ""))
        number, split = str(planned.number), str(planned.split)
        rows.append((number, planned.candidate, split, *sizes, _status_text(planned)))
    header = ("run", "candidate", "split", "training", "validation", "test", "status")
    has_persons = any("(" in size for row in rows for size in row[3:6])
    notes = ("training, validation, test: number of scans (of persons)",) if has_persons else ()
    return TerminalTable("", header, tuple(rows), notes, labels=2)


def _status_text(planned: PlannedRun) -> str:
    """The status of a run as in the report; an unfinished one with its epochs: `epoch 3 of 200`."""
    run = run_status(planned.candidate, planned.split, planned.run, is_done(planned.run))
    epochs = f", epoch {len(run.history)} of {planned.experiment.trainer.max_epochs}"
    return run.status + (epochs if run.status == "unfinished" else "")


def _seconds_from_done(done: Sequence[PlannedRun], todo: Sequence[PlannedRun]) -> float:
    """Seconds of all missing runs, each the median of its candidate's runs done, or of all."""
    seconds: dict[str, list[float]] = {}
    for planned in done:
        total = sum(seconds_by_stage(planned.run).values())
        seconds.setdefault(planned.candidate, []).append(total)
    of_all = [total for totals in seconds.values() for total in totals]
    return sum(statistics.median(seconds.get(planned.candidate, of_all)) for planned in todo)


@memory_errors("timing a few steps", "lower trainer.batch_size or model.filters")
def _seconds_from_steps(todo: Sequence[PlannedRun], stacks: Mapping[int, Path]) -> float:
    """Seconds of the training of all missing runs, from steps of the first run of each candidate.

    A step includes its batch, and an epoch its validation, as in `softseg train --dry-run`.
    """
    first_runs = {planned.candidate: planned for planned in reversed(todo)}
    seconds: dict[str, float] = {}
    for candidate, planned in first_runs.items():
        experiment = resolve_hardware(planned.experiment)
        prepared = PreparedData(planned.sets, read_shared_store(stacks[planned.number]))
        experiment = resolve_patches(experiment, prepared)
        task = build_task(experiment, prepared)
        state = new_state(experiment, torch.device(experiment.trainer.device))
        seconds[candidate] = measure_times(state, task).epoch * experiment.trainer.max_epochs
    return sum(seconds[planned.candidate] for planned in todo)
