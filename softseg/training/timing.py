"""What an epoch costs against what the bare network costs."""

from __future__ import annotations

import copy
import statistics
import time

from softseg.core.device import synchronize
from softseg.training.batches import take
from softseg.training.loop import train_step
from softseg.training.state import State, start
from softseg.training.task import Task


def bare_step_seconds(state: State, task: Task, repeats: int = 5, warm_up: int = 2) -> float:
    """Median time of forward, backward and update alone, on one batch already on the device.

    A copy of the network is used, so that measuring leaves the training as it was.
    """
    twin = start(copy.deepcopy(state.model), copy.deepcopy(state.head), task.trainer)
    twin.model.train()
    twin.head.train()
    batch = take(task, task.rows[: task.trainer.batch_size])
    times = []
    for _ in range(warm_up + repeats):
        synchronize(task.device)
        began = time.perf_counter()
        train_step(twin, task, batch)
        synchronize(task.device)
        times.append(time.perf_counter() - began)
    return statistics.median(times[warm_up:])


def steps_per_epoch(task: Task) -> float:
    """How many full batches an epoch is worth (the last one may be a share of a batch)."""
    return len(task.rows) / task.trainer.batch_size
