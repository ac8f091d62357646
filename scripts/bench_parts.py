"""Shared by the rows of `scripts/bench`: trainings to measure, and timing."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.datasets.phantom import write_phantom
from softseg.runs.build import resolve_hardware
from softseg.runs.data import PreparedData, prepare_data
from softseg.training.batches import single_batch
from softseg.training.loop import train_step
from softseg.training.task import State, Task, build_task, new_state

CONFIGS = Path(__file__).parent.parent / "configs"
Row = dict[str, Any]


class Silent:
    """An observer of training that does nothing."""

    def step(self, slices: int) -> None:
        """Do nothing."""


def row_of(name: str, target: str) -> Row:
    """Return a row that is not measured yet."""
    return {"name": name, "value": None, "target": target, "met": None, "parts": {}}


def real_data(name: str = "hippocampus") -> Path | None:
    """Return the folder of a dataset below SOFTSEG_DATA; None if there is none."""
    root = Path(os.environ.get("SOFTSEG_DATA", "")) / name
    return root if root.is_dir() else None


NO_DATA = {"not measured": "SOFTSEG_DATA does not name a folder with hippocampus/"}


def hippocampus(root: Path, *changes: str) -> tuple[Experiment, PreparedData]:
    """Return the shipped experiment and its slices, on the CPU."""
    config = on_cpu("hippocampus_softseg.yaml", root, *changes)
    return config, prepare_data(config, Console(quiet=True))


def on_cpu(name: str, root: Path, *changes: str) -> Experiment:
    """Return a shipped experiment on the data in a folder, on the CPU and without a cache."""
    fixed = [f"dataset.root={root}", "dataset.cache=null", "trainer.device=cpu"]
    return resolve_hardware(load_config(CONFIGS / name, Experiment, [*fixed, *changes]))


def cpu_training(folder: Path, *changes: str) -> Experiment:
    """Return the experiment on the hippocampus data, or without them on a phantom in `folder`.

    Both networks have 8 filters.
    """
    if root := real_data():
        return on_cpu("hippocampus_softseg.yaml", root, *changes)
    return on_cpu("quickstart.yaml", phantom(folder), *changes)


def phantom(folder: Path) -> Path:
    """Write the SCGM phantom into a folder unless it exists; return its folder."""
    root = folder / "phantom"
    if not root.is_dir():
        write_phantom(root, "scgm")
    return root


def start_training(config: Experiment, prepared: PreparedData) -> tuple[State, Task]:
    """Return a new network and its task."""
    task = build_task(config, prepared)
    return new_state(config, task.device), task


def limit_slices(task: Task, count: int) -> Task:
    """Return the task with at most `count` training slices."""
    return replace(task, rows=task.rows[:count], foreground=task.foreground[:count])


def bare_steps(state: State, task: Task) -> None:
    """Run the steps of an epoch on batches of the same sizes that are already loaded."""
    batches = {
        len(rows): single_batch(task, rows) for rows in task.rows.split(task.trainer.batch_size)
    }
    for rows in task.rows.split(task.trainer.batch_size):
        train_step(state, task, batches[len(rows)])


def medians(
    rounds: int,
    works: Mapping[str, Callable[[], object]],
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Return the median seconds of each work; they alternate, so that other load affects all.

    An additional first round is a warm-up and does not count. With `time.process_time`, other load
    on the machine does not count at all.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            start = clock()
            work()
            seconds[name].append(clock() - start)
    return {name: statistics.median(taken[1:]) for name, taken in seconds.items()}
