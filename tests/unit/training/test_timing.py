"""Timing a step leaves the training as it was."""

from __future__ import annotations

import copy

import pytest
import torch

from softseg.training.loop import fit
from softseg.training.timing import bare_step_seconds, steps_per_epoch
from tests.support.tiny import Watcher, tiny_stack, tiny_state, tiny_task


def everything(state):
    values = {**state.model.state_dict(), **state.head.state_dict(prefix="head.")}
    return copy.deepcopy(values)


def test_measuring_changes_neither_the_network_nor_what_it_becomes():
    task = tiny_task(max_epochs=2)
    head = {"name": "normrelu", "scope": "running"}
    measured, plain = tiny_state(task, head=head), tiny_state(task, head=head)
    before = everything(measured)
    assert bare_step_seconds(measured, task, repeats=2, warm_up=1) > 0
    after = everything(measured)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not measured.optimizer.state
    for state in (measured, plain):
        fit(state, task, Watcher())
    one, two = everything(measured), everything(plain)
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_the_time_is_the_median_of_the_repeats_without_the_warm_up(monkeypatch):
    ticks = iter([0, 50, 0, 3, 0, 1, 0, 2])  # a slow first step, then 3, 1 and 2 seconds
    monkeypatch.setattr("softseg.training.timing.time.perf_counter", lambda: next(ticks))
    task = tiny_task()
    assert bare_step_seconds(tiny_state(task), task, repeats=3, warm_up=1) == 2


def test_fewer_slices_than_a_batch_can_be_timed():
    task = tiny_task(tiny_stack(volumes=2, slices=2), batch_size=64)
    assert bare_step_seconds(tiny_state(task), task, repeats=1, warm_up=0) > 0


@pytest.mark.parametrize(("batch_size", "steps"), [(4, 3), (8, 1.5), (12, 1), (24, 0.5)])
def test_an_epoch_is_worth_its_slices_in_batches(batch_size, steps):
    assert steps_per_epoch(tiny_task(batch_size=batch_size)) == steps
