"""How long the network alone takes: what an epoch's time is compared with."""

from __future__ import annotations

import copy
import math
import statistics
import time
from dataclasses import replace

from softseg.core.device import synchronize
from softseg.training.batches import single_batch
from softseg.training.distributed.processes import SINGLE
from softseg.training.loop import train_step
from softseg.training.state import State, initial_state
from softseg.training.task import Task

VALIDATION_SHARE = 0.3
"""Time of the validation of an epoch as a share of its training part, approximately."""


def bare_step_seconds(state: State, task: Task, repeats: int = 5, warm_up: int = 2) -> float:
    """Median time of forward, backward and update alone, on one batch already on the device.

    A copy of the network is trained, so that measuring leaves the training as it is. One of several
    processes measures its own share of a batch, without the others.
    """
    twin = initial_state(copy.deepcopy(state.model), copy.deepcopy(state.head), task.trainer)
    twin.model.train()
    twin.head.train()
    size = math.ceil(task.trainer.batch_size / task.processes.count)
    batch = single_batch(_without_peers(task, size), task.rows[:size])
    times = []
    for _ in range(warm_up + repeats):
        synchronize(task.device)
        start = time.perf_counter()
        train_step(twin, task, batch)
        synchronize(task.device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[warm_up:])


def _without_peers(task: Task, batch_size: int) -> Task:
    trainer = task.trainer.model_copy(update={"batch_size": batch_size})
    return replace(task, processes=SINGLE, trainer=trainer)


def steps_per_epoch(task: Task) -> float:
    """Number of full batches that an epoch amounts to (the last one may be a part of a batch)."""
    return len(task.rows) / task.trainer.batch_size
