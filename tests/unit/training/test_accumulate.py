"""Gradient accumulation: several batches give the gradient of one batch of their size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from softseg.config.trainer import Trainer
from softseg.training import loop
from softseg.training.batches import single_batch
from softseg.training.distributed.processes import SINGLE
from softseg.training.loop import train_epoch, train_step, update_shares
from tests.support.tiny import Watcher, tiny_stack, tiny_state, tiny_task

INDEPENDENT = {"dropout": 0.0, "norm": "instance", "head": {"name": "normrelu", "scope": "sample"}}


def gradients(state):
    return [p.grad.clone() for p in state.model.parameters()]


def shares(samples, **trainer):
    found = update_shares(samples, Trainer(**trainer))
    return [(share.weight, share.first, share.last) for share in found]


def test_batches_have_their_share_of_the_samples_of_an_update():
    assert shares(11, batch_size=2, accumulate=3) == [
        (1 / 3, True, False),
        (1 / 3, False, False),
        (1 / 3, False, True),
        (2 / 5, True, False),
        (2 / 5, False, False),
        (1 / 5, False, True),
    ]
    assert shares(5, batch_size=2) == [(1.0, True, True)] * 3
    assert shares(3, batch_size=2, accumulate=9) == [(2 / 3, True, False), (1 / 3, False, True)]


@pytest.mark.parametrize("loss", ["mse", "adaptive_wing"])
def test_the_gradient_is_that_of_one_batch_of_all_samples(loss):
    """Of 9 slices: at once, and in batches of 4, 4 and 1."""
    steps = ()
    whole, parts = (
        tiny_task(loss=loss, steps=steps, batch_size=n, accumulate=m) for n, m in ((9, 1), (4, 3))
    )
    once, several = tiny_state(whole, **INDEPENDENT), tiny_state(parts, **INDEPENDENT)
    rows = whole.rows[:9]
    train_step(once, whole, single_batch(whole, rows))
    for slices, share in zip(rows.split(4), update_shares(9, parts.trainer), strict=True):
        train_step(several, parts, single_batch(parts, slices), None, share)
    for expected, actual in zip(gradients(once), gradients(several), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


def test_weights_change_and_the_gradient_is_clipped_once_per_update(monkeypatch):
    task = tiny_task(tiny_stack(volumes=6), batch_size=4, accumulate=2, clip_gradient=1e-3)
    state = tiny_state(task)
    updates, norms = [], []
    step, clip = state.optimizer.step, torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(state.optimizer, "step", lambda: updates.append(1) or step())
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *a: norms.append(1) or clip(*a))
    watcher = Watcher()
    train_epoch(state, task, watcher)
    assert watcher.slices == 20
    assert len(updates) == len(norms) == 3
    norm = torch.stack([gradient.norm() for gradient in gradients(state)]).norm()
    assert norm.item() == pytest.approx(1e-3, rel=0.01)


def test_an_epoch_with_accumulation_has_the_loss_of_one_with_larger_batches():
    tasks = [
        tiny_task(steps=(), loss="mse", batch_size=n, accumulate=m, learning_rate=1e-9)
        for n, m in ((4, 1), (2, 2))
    ]
    totals = [train_epoch(tiny_state(t, **INDEPENDENT), t, Watcher())[0].item() for t in tasks]
    assert totals[0] == pytest.approx(totals[1], rel=1e-5)


def test_without_accumulation_the_loss_is_multiplied_by_exactly_1():
    assert loop.WHOLE_UPDATE.weight == 1.0
    assert all(share == loop.WHOLE_UPDATE for share in update_shares(11, Trainer(batch_size=3)))


def test_processes_average_the_gradient_only_at_the_end_of_an_update():
    """Otherwise each batch would wait for all processes, with the same result."""
    contexts = []

    class Processes(type(SINGLE)):
        def no_averaging(self, network):
            contexts.append(network)
            return super().no_averaging(network)

    task = replace(tiny_task(batch_size=4, accumulate=2), processes=Processes())
    state = tiny_state(task)
    train_epoch(state, task, Watcher())  # batches of 4, 4 and 4
    assert contexts == [state.model]
