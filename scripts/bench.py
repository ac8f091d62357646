"""The rows of `scripts/bench`."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from throughput import two_jobs_against_one

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.preparation import prepare
from softseg.seeds import generator
from softseg.train.loop import Task, take, train_epoch, train_step
from softseg.train.state import State
from softseg.wiring import new_state, settle, task_of

CONFIGS = Path(__file__).parent.parent / "configs"
Row = dict[str, Any]


class Silent:
    """Watches a training without doing anything."""

    def step(self, slices: int) -> None:
        """Nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    parser.add_argument("--rounds", type=int, default=7, help="repeats of each side, alternating")
    parser.add_argument("--only", choices=list(ROWS), help="measure one row")
    options = parser.parse_args()
    rows = [
        measure(options.rounds) for name, measure in ROWS.items() if options.only in (None, name)
    ]
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    show(rows)


def epoch_against_bare_steps(rounds: int) -> Row:
    """Training part of an epoch / the same steps of the same net on one resident batch."""
    row: Row = {
        "name": "training part of an epoch / bare steps, CPU, 8 filters, hippocampus",
        "value": None,
        "target": "<= 1.15",
        "met": None,
        "parts": {},
    }
    root = Path(os.environ.get("SOFTSEG_DATA", "")) / "hippocampus"
    if not root.is_dir():
        row["parts"]["not measured"] = "SOFTSEG_DATA does not name a folder with hippocampus/"
        return row
    state, task = hippocampus(root)
    epochs, bare = [], []
    for _ in range(rounds + 1):  # alternating, so that other load hits both alike
        epochs.append(timed(lambda: train_epoch(state, task, Silent())))
        bare.append(timed(lambda: bare_steps(state, task)))
    epoch, steps = statistics.median(epochs[1:]), statistics.median(bare[1:])
    row["value"] = round(epoch / steps, 4)
    row["met"] = epoch / steps <= 1.15
    row["parts"] = {
        "epoch_seconds": epoch,
        "bare_seconds": steps,
        "steps": len(task.rows) / task.trainer.batch_size,
        "threads": task.trainer.threads,
        "rounds": rounds,
    }
    return row


ROWS: dict[str, Callable[[int], Row]] = {
    "epoch": epoch_against_bare_steps,
    "jobs": lambda _: two_jobs_against_one(),
}


def hippocampus(root: Path) -> tuple[State, Task]:
    changes = [f"dataset.root={root}", "dataset.cache=null", "trainer.device=cpu"]
    config = load_config(CONFIGS / "hippocampus_softseg.yaml", Experiment, changes)
    config = settle(config)
    prepared = prepare(config, Console(quiet=True))
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


def timed(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def show(rows: list[Row]) -> None:
    table = Table("what", "value", "target", "met")
    for row in rows:
        value = "not measured" if row["value"] is None else f"{row['value']:.3f}"
        met = {True: "yes", False: "NO", None: "-"}[row["met"]]
        table.add_row(row["name"], value, row["target"], met)
    console = Console()
    console.print(table)
    for row in rows:
        console.print({row["name"]: row["parts"]})


if __name__ == "__main__":
    main()
