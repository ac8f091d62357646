"""The time of an epoch, from a few steps and a validation volume."""

from __future__ import annotations

from dataclasses import replace

import pytest

from softseg.core.errors import UserError
from softseg.training import step_times
from softseg.training.step_times import measure_times
from tests.support.tiny import tiny_stack, tiny_state, tiny_task


@pytest.fixture
def clock(monkeypatch):
    """Two steps take 60 s, the next ones 1, 2, ... s, and a validation 2 s a volume."""
    now, taken = [0.0], [0]

    def train_step(*_):
        taken[0] += 1
        now[0] += 60 if taken[0] <= 2 else taken[0] - 2

    def validate(state, task):
        now[0] += 2 * len(task.validation)

    monkeypatch.setattr(step_times.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(step_times, "train_step", train_step)
    monkeypatch.setattr(step_times, "validate", validate)
    return taken


def test_an_epoch_has_the_time_of_its_steps_and_of_all_validation_volumes(clock):
    task = tiny_task(tiny_stack(volumes=5))  # 4 x 4 slices in batches of 4
    names = [volume.subject for volume in task.stack.volumes]
    task = replace(task, validation=tuple(task.stack.volumes_of(names[-3:])))
    times = measure_times(tiny_state(task), task)
    assert times.step == 3  # without those to warm up
    assert times.epoch == 4 * 3 + 3 * 2
    assert clock == [step_times.WARM_UP + step_times.STEPS]


def test_a_batch_that_is_larger_than_the_training_set_is_measured_as_a_part_of_one(clock):
    task = tiny_task(tiny_stack(volumes=3), batch_size=32)
    assert measure_times(tiny_state(task), task).epoch == 3 * 8 / 32 + 2
    assert clock == [step_times.WARM_UP + step_times.STEPS]


def test_an_operation_that_is_not_deterministic_is_named(monkeypatch):
    def train_step(*_):
        raise RuntimeError("x_cuda does not have a deterministic implementation, but you set ...")

    monkeypatch.setattr(step_times, "train_step", train_step)
    task = tiny_task()
    with pytest.raises(UserError, match=r"x_cuda|deterministic"):
        measure_times(tiny_state(task), task)
