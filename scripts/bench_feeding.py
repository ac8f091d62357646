"""A row of `scripts/bench`: an epoch vs. one with batches from TorchIO and MONAI."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from bench_child import in_child
from bench_parts import (
    Row,
    Silent,
    bare_steps,
    cpu_training,
    limit_slices,
    medians,
    row_of,
    start_training,
)
from bench_peers import PEERS, Batches, installed, monai_batches, torchio_batches
from rich.console import Console

from softseg.augment import Batch
from softseg.runs.data import prepare_data
from softseg.training.loop import train_epoch, train_step
from softseg.training.task import State, Task

SLICES, TARGET = 128, 2
CORES = {"all cores": None, "one core": 1}
WORKERS = {"all cores": (2, 0), "one core": (0,)}  # of the peers' loaders; the best counts
_FEEDS = {"torchio": torchio_batches, "monai": monai_batches}


def epoch_against_fed_by_peers(rounds: int) -> Row:
    """Time of a peer with its best number of workers / the training part of an epoch."""
    row = row_of(
        f"an epoch fed by TorchIO, MONAI / softseg's, CPU, 8 filters, {SLICES} slices",
        f">= {TARGET} times each",
    )
    seconds = {
        name: in_child(epoch_seconds, rounds, WORKERS[name], cores=cores)
        for name, cores in CORES.items()
    }
    return row | evaluate_row(seconds)


def evaluate_row(seconds: dict[str, dict[str, float]]) -> Row:
    """Return value, met and parts of the row, from cores -> side -> seconds per epoch."""
    best = {cores: _best(sides) for cores, sides in seconds.items()}
    gains = best["all cores"]
    met = min(gains.values()) >= TARGET if len(gains) == len(PEERS) else None
    parts = {
        "seconds": seconds,
        "times faster than its best": best,
        # the bare steps are the same for all: loading batches only adds time
        "softseg / bare steps": {n: s["softseg"] / s["bare steps"] for n, s in seconds.items()},
    }
    return {"value": min(gains.values(), default=None), "met": met, "parts": parts}


def _best(sides: dict[str, float]) -> dict[str, float]:
    """Return for each peer the seconds of its fastest loader / those of softseg."""
    by_peer = {peer: [s for side, s in sides.items() if side.startswith(peer)] for peer in PEERS}
    return {peer: min(taken) / sides["softseg"] for peer, taken in by_peer.items() if taken}


def epoch_seconds(rounds: int, workers: Iterable[int], slices: int = SLICES) -> dict[str, float]:
    """Return the median seconds of an epoch's training part with the batches of each side."""
    with tempfile.TemporaryDirectory() as folder:
        config = cpu_training(Path(folder))
        state, task = start_training(config, prepare_data(config, Console(quiet=True)))
    task = limit_slices(task, slices)
    works: dict[str, Callable[[], object]] = {
        "softseg": lambda: train_epoch(state, task, Silent()),
        "bare steps": lambda: bare_steps(state, task),
    }
    for side, feed in feeds(task, workers).items():
        works[side] = lambda feed=feed: fed_epoch(state, task, feed())  # type: ignore[misc]
    return medians(rounds, works)


def feeds(task: Task, workers: Iterable[int]) -> dict[str, Callable[[], Batches]]:
    """Return the peers' loaders, each with these numbers of worker processes.

    Those with workers come first: ITK's threads, once started, may not survive a fork.
    """
    image, target = task.stack.image[task.rows], task.stack.target[task.rows]
    size = task.trainer.batch_size
    return {
        f"{peer}, {count} workers": _FEEDS[peer](image, target, size, count)
        for count in sorted(workers, reverse=True)
        for peer in installed()
    }


def fed_epoch(state: State, task: Task, batches: Iterable[Batch]) -> None:
    """Train one epoch on the batches of another loader.

    Raises ValueError unless they have the shapes that ours have.
    """
    state.model.train()
    shapes = []
    for batch in batches:
        train_step(state, task, batch)
        shapes.append(tuple(batch.image.shape))
    rest = tuple(task.stack.image.shape[1:])
    expected = [(len(rows), *rest) for rows in task.rows.split(task.trainer.batch_size)]
    if shapes != expected:
        raise ValueError(f"fed {shapes}, not {expected}")
