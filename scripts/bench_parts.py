"""What the rows of `scripts/bench` share: the task they time, and how."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.preparation import Prepared, prepare
from softseg.seeds import generator
from softseg.train.loop import Task, take, train_step
from softseg.train.state import State
from softseg.wiring import new_state, settle, task_of

CONFIGS = Path(__file__).parent.parent / "configs"
Row = dict[str, Any]


class Silent:
    """Watches a training without doing anything."""

    def step(self, slices: int) -> None:
        """Nothing."""


def row_of(name: str, target: str) -> Row:
    """A row that is not measured yet."""
    return {"name": name, "value": None, "target": target, "met": None, "parts": {}}


def real_data() -> Path | None:
    """The folder with the hippocampus scans, if SOFTSEG_DATA names one."""
    root = Path(os.environ.get("SOFTSEG_DATA", "")) / "hippocampus"
    return root if root.is_dir() else None


NOT_THERE = {"not measured": "SOFTSEG_DATA does not name a folder with hippocampus/"}


def hippocampus(root: Path, *changes: str) -> tuple[Experiment, Prepared]:
    """The shipped experiment and its slices, on the CPU."""
    fixed = [f"dataset.root={root}", "dataset.cache=null", "trainer.device=cpu"]
    path = CONFIGS / "hippocampus_softseg.yaml"
    config = settle(load_config(path, Experiment, [*fixed, *changes]))
    return config, prepare(config, Console(quiet=True))


def started(config: Experiment, prepared: Prepared) -> tuple[State, Task]:
    """A network at its start and what it trains on."""
    task = task_of(config, prepared.sets, prepared.stack)
    return new_state(config, task.device), task


def bare_steps(state: State, task: Task) -> None:
    """As many forward, backward and update steps as an epoch has, on batches of the same sizes."""
    batches = {
        len(rows): take(task, rows, generator(0, "bench"))
        for rows in task.rows.split(task.trainer.batch_size)
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
