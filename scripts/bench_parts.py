"""What the rows of `scripts/bench` share: the task they time, and how."""

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
from softseg.training.state import State
from softseg.training.task import Task, build_task, new_state

CONFIGS = Path(__file__).parent.parent / "configs"
Row = dict[str, Any]


class Silent:
    """Watches a training without doing anything."""

    def step(self, slices: int) -> None:
        """Nothing."""


def row_of(name: str, target: str) -> Row:
    """A row that is not measured yet."""
    return {"name": name, "value": None, "target": target, "met": None, "parts": {}}


def real_data(name: str = "hippocampus") -> Path | None:
    """The folder with the scans of a data set, if SOFTSEG_DATA names one."""
    root = Path(os.environ.get("SOFTSEG_DATA", "")) / name
    return root if root.is_dir() else None


NOT_THERE = {"not measured": "SOFTSEG_DATA does not name a folder with hippocampus/"}


def hippocampus(root: Path, *changes: str) -> tuple[Experiment, PreparedData]:
    """The shipped experiment and its slices, on the CPU."""
    config = on_cpu("hippocampus_softseg.yaml", root, *changes)
    return config, prepare_data(config, Console(quiet=True))


def on_cpu(name: str, root: Path, *changes: str) -> Experiment:
    """A shipped experiment on the data in a folder, on the CPU; nothing is cached."""
    fixed = [f"dataset.root={root}", "dataset.cache=null", "trainer.device=cpu"]
    return resolve_hardware(load_config(CONFIGS / name, Experiment, [*fixed, *changes]))


def cpu_training(folder: Path, *changes: str) -> Experiment:
    """That of the hippocampus, or of the phantom, drawn into `folder`, where that is not there.

    Both nets have 8 filters.
    """
    if root := real_data():
        return on_cpu("hippocampus_softseg.yaml", root, *changes)
    return on_cpu("quickstart.yaml", phantom(folder), *changes)


def phantom(folder: Path) -> Path:
    """The SCGM phantom, drawn into a folder unless it is there."""
    root = folder / "phantom"
    if not root.is_dir():
        write_phantom(root, "scgm")
    return root


def started(config: Experiment, prepared: PreparedData) -> tuple[State, Task]:
    """A network at its start and what it trains on."""
    task = build_task(config, prepared)
    return new_state(config, task.device), task


def first_slices(task: Task, count: int) -> Task:
    """The same task with no more training slices than this."""
    return replace(task, rows=task.rows[:count], foreground=task.foreground[:count])


def bare_steps(state: State, task: Task) -> None:
    """As many forward, backward and update steps as an epoch has, on batches of the same sizes."""
    batches = {
        len(rows): single_batch(task, rows) for rows in task.rows.split(task.trainer.batch_size)
    }
    for rows in task.rows.split(task.trainer.batch_size):
        train_step(state, task, batches[len(rows)])


def medians(rounds: int, works: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each work; they take turns, so that other load hits all alike.

    One more round than asked is done: the first warms up and does not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(taken[1:]) for name, taken in seconds.items()}
