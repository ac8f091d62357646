"""Rows of `scripts/bench`: an epoch vs. bare network steps, a stack on disk vs. in memory."""

from __future__ import annotations

import tempfile

from bench_parts import (
    NO_DATA,
    Row,
    Silent,
    alternating,
    bare_steps,
    hippocampus,
    limit_slices,
    medians,
    ratios_of,
    real_data,
    row_of,
    start_training,
    timed,
)

from softseg.training.loop import train_epoch

SLICES = 1280  # of a mapped stack: enough to compare
VOLUMES = 16  # of an epoch of a 3D network


def epoch_against_bare_steps(rounds: int) -> Row:
    """Training part of an epoch / the same steps of the same network on one loaded batch."""
    row = row_of("training part of an epoch / bare steps, CPU, 8 filters, hippocampus", "<= 1.05")
    root = real_data()
    if root is None:
        return row | {"parts": NO_DATA}
    state, task = start_training(*hippocampus(root))
    works = {
        "epoch": lambda: train_epoch(state, task, Silent()),
        "bare steps": lambda: bare_steps(state, task),
    }
    seconds = medians(rounds, works)
    ratio = seconds["epoch"] / seconds["bare steps"]
    steps = len(task.rows) / task.trainer.batch_size
    parts = {"seconds": seconds, "steps": steps, "threads": task.trainer.threads, "rounds": rounds}
    return row | {"value": round(ratio, 4), "met": ratio <= 1.05, "parts": parts}


def volumes_epoch_against_bare_steps(rounds: int) -> Row:
    """The same of a 3D network, on a part of the volumes; the median ratio of CPU times."""
    row = row_of("training part of an epoch / bare steps, CPU, 3D, hippocampus", "<= 1.10")
    root = real_data()
    if root is None:
        return row | {"parts": NO_DATA}
    state, task = start_training(*hippocampus(root, "trainer.threads=1", axes=3))
    part = limit_slices(task, VOLUMES)
    works = {
        "epoch": lambda: timed(lambda: train_epoch(state, part, Silent())),
        "bare steps": lambda: timed(lambda: bare_steps(state, part)),
    }
    times = alternating(rounds, works)
    parts = ratios_of(times, "epoch")
    value = parts["ratios"]["epoch / bare steps"]["median"]
    met = value <= 1.1
    return row | {"value": value, "met": met, "parts": parts, "times": {"an epoch": times}}


def mapped_against_memory(rounds: int) -> Row:
    """An epoch on a stack that is memory-mapped from a file / the same in memory."""
    row = row_of(
        "an epoch on a memory-mapped stack / on one in memory, CPU, hippocampus", "printed"
    )
    root = real_data()
    if root is None:
        return row | {"parts": NO_DATA}
    with tempfile.TemporaryDirectory() as folder:
        mapped = ["dataset.memory_gb=0.000001", f"dataset.cache={folder}"]
        sides = {
            "memory": start_training(*hippocampus(root)),
            "mapped": start_training(*hippocampus(root, *mapped)),
        }
        small = {name: (state, limit_slices(task, SLICES)) for name, (state, task) in sides.items()}
        works = {
            name: lambda side=side: train_epoch(*side, Silent()) for name, side in small.items()
        }
        seconds = medians(rounds, works)
    size = sides["mapped"][1].stack.n_bytes
    parts = {
        "seconds": seconds,
        "store_bytes": size,
        "rounds": rounds,
        "note": "the file fits the page cache here; from a slow disk it costs more",
    }
    return row | {"value": round(seconds["mapped"] / seconds["memory"], 4), "parts": parts}
