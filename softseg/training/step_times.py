"""How long training steps and an epoch take, measured on a few steps and a validation volume."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass, replace

from softseg.core import seeds
from softseg.core.determinism import determinism_errors
from softseg.core.device import synchronize
from softseg.training.batches import any_places, epoch_batches
from softseg.training.loop import train_step, validate
from softseg.training.profile import steps_per_epoch
from softseg.training.task import State, Task

WARM_UP, STEPS = 2, 5


@dataclass(frozen=True)
class Times:
    """Measured seconds of a full step and of an epoch."""

    step: float
    epoch: float


def measure_times(state: State, task: Task) -> Times:
    """Measure a step, with its batch, and the validation of a few volumes; changes the state.

    An epoch's time follows from the numbers of its slices. Writing checkpoints is not part of it.
    """
    with determinism_errors():
        step = step_seconds(state, task)
        return Times(step, step * steps_per_epoch(task) + validation_seconds(state, task))


def step_seconds(state: State, task: Task) -> float:
    """Return the median time of training steps with full batches, which are augmented."""
    network = task.processes.wrap_ddp(state.model, task.device)
    state.model.train()
    state.head.train()
    generators = [seeds.generator(task.seed, name) for name in ("augment", "raters")]
    count = (WARM_UP + STEPS) * task.trainer.batch_size
    order = task.rows.repeat(math.ceil(count / len(task.rows)))[:count]
    seconds, start = [], time.perf_counter()
    for batch in epoch_batches(task, any_places(task, order), *generators):
        train_step(state, task, batch, network)
        synchronize(task.device)
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    return statistics.median(seconds[WARM_UP:])


def validation_seconds(state: State, task: Task) -> float:
    """Return the time of a validation, measured on one volume of each process."""
    few = replace(task, validation=task.validation[: task.processes.world_size])
    validate(state, few)
    synchronize(task.device)
    start = time.perf_counter()
    validate(state, few)
    synchronize(task.device)
    return (time.perf_counter() - start) * _slices(task) / _slices(few)


def _slices(task: Task) -> int:
    """Number of validation slices."""
    return sum(len(rows) for rows in task.validation_rows)
