"""Shared by the rows of `scripts/bench`: trainings to measure, and timing."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.datasets.phantom import write_phantom
from softseg.runs.build import resolve_hardware
from softseg.runs.data import PreparedData, prepare_data
from softseg.runs.patch_size import resolve_patches
from softseg.training.batches import single_batch
from softseg.training.loop import train_step
from softseg.training.task import State, Task, build_task, new_state

CONFIGS = Path(__file__).parent.parent / "configs"
# axes of the network -> configuration for the hippocampus data, and for a phantom without them
SHIPPED = {
    2: ("hippocampus_softseg.yaml", "quickstart.yaml"),
    3: ("hippocampus_3d.yaml", "quickstart_3d.yaml"),
}
Row = dict[str, Any]
Work = Callable[[], tuple[float, float]]
"""Does something; returns its CPU time and its wall time [s]."""


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


def hippocampus(root: Path, *changes: str, axes: int = 2) -> tuple[Experiment, PreparedData]:
    """Return the shipped experiment and its slices or volumes, on the CPU."""
    config = on_cpu(SHIPPED[axes][0], root, *changes)
    return config, prepare_data(config, Console(quiet=True))


def on_cpu(name: str, root: Path, *changes: str) -> Experiment:
    """Return a shipped experiment on the data in a folder, on the CPU and without a cache."""
    fixed = [f"dataset.root={root}", "dataset.cache=null", "trainer.device=cpu"]
    return resolve_hardware(load_config(CONFIGS / name, Experiment, [*fixed, *changes]))


def cpu_training(folder: Path, *changes: str, axes: int = 2) -> Experiment:
    """Return the experiment on the hippocampus data, or without them on a phantom in `folder`.

    Both 2D networks have 8 filters.
    """
    real, synthetic = SHIPPED[axes]
    if root := real_data():
        return on_cpu(real, root, *changes)
    return on_cpu(synthetic, phantom(folder), *changes)


def phantom(folder: Path) -> Path:
    """Write the SCGM phantom into a folder unless it exists; return its folder."""
    root = folder / "phantom"
    if not root.is_dir():
        write_phantom(root, "scgm")
    return root


def start_training(config: Experiment, prepared: PreparedData) -> tuple[State, Task]:
    """Return a new network and its task."""
    config = resolve_patches(config, prepared)
    task = build_task(config, prepared)
    return new_state(config, task.device), task


def limit_slices(task: Task, count: int) -> Task:
    """Return the task with at most `count` training slices, or volumes."""
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


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the CPU time and the wall time [s] of a work."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def alternating(rounds: int, works: Mapping[str, Work]) -> dict[str, list[tuple[float, float]]]:
    """Return the times of each work in each round; an additional first round does not count."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            times[name].append(work())
    return {name: own[1:] for name, own in times.items()}


def ratios_of(times: Mapping[str, Sequence[Sequence[float]]], side: str) -> Row:
    """Return the times of each side, and the CPU time of one side / that of each other one.

    A ratio is that of a round, in which the sides alternate; its median and range are returned.
    """
    seconds = {
        f"{name}, {clock}": spread([own[k] for own in rounds])
        for name, rounds in times.items()
        for k, clock in enumerate(("CPU", "wall"))
    }
    ratios = {
        f"{side} / {name}": spread([a[0] / b[0] for a, b in zip(times[side], rounds, strict=True)])
        for name, rounds in times.items()
        if name != side
    }
    return {"seconds": seconds, "ratios": ratios}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, lowest and highest value."""
    limits = {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
    return {name: round(value, 5) for name, value in limits.items()}
