"""Weights of voxels in training and validation, and in the summary that is printed before."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from softseg.training import loop
from softseg.training.batches import collate, epoch_batches
from tests.support.tiny import (
    Watcher,
    tiny_stack,
    tiny_state,
    tiny_task,
    with_ignored,
    with_weights,
)

STEPS = ({"affine": {}}, {"RandomFlip": {"axes": [0, 1]}})


def train(stack, **options):
    task = tiny_task(stack, **options)
    watcher = Watcher()
    loop.fit(tiny_state(task, dropout=0.0), task, watcher)
    return [{k: v for k, v in r.items() if "seconds" not in k} for r in watcher.records]


@pytest.mark.parametrize("loss", ["adaptive_wing", "dice", "generalized_dice"])
@pytest.mark.parametrize("ignored", [False, True])
def test_full_weights_train_the_same_to_the_bits(loss, ignored):
    stack = with_ignored(tiny_stack()) if ignored else tiny_stack()
    full = replace(stack, weight=torch.ones_like(stack.target))
    assert train(full, loss=loss, steps=STEPS) == train(stack, loss=loss, steps=STEPS)


@pytest.mark.parametrize("loss", ["mse", "dice"])
def test_weights_change_training_and_the_validation_loss_but_not_its_dice(loss):
    stack = tiny_stack()
    [first, *_], [weighted, *_] = train(stack, loss=loss), train(with_weights(stack), loss=loss)
    assert weighted["train_loss"] != first["train_loss"]
    task = tiny_task(stack, loss=loss)
    weighted_task = replace(task, stack=with_weights(stack))
    state = tiny_state(task, dropout=0.0)
    plain, of_weights = (loop.validate(state, t)[0] for t in (task, weighted_task))
    assert plain[0] != of_weights[0]
    assert plain[1] == of_weights[1]
    volume = weighted_task.stack.volumes[-1]
    rows = torch.arange(volume.start, volume.stop)
    with torch.no_grad():
        state.model.eval()
        state.head.eval()
        soft = state.head(state.model(stack.image[rows]))
    expected = task.loss(soft, stack.target[rows], weight=with_weights(stack).weight[rows])
    assert of_weights[0].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_stack_without_weights_has_batches_without_them():
    task = tiny_task()
    assert collate(task, task.rows[:2], torch.Generator()).weight is None


def test_batches_from_the_host_have_the_weights():
    task = tiny_task(with_weights(tiny_stack()), steps=())
    order, generators = task.rows[:8], (torch.Generator(), torch.Generator())
    near = list(epoch_batches(task, order, *generators))
    far = replace(task, device=torch.device("cpu", 0))  # another name: batches are prefetched
    for batch, other in zip(near, epoch_batches(far, order, *generators), strict=True):
        assert torch.equal(batch.weight, other.weight)
        assert (batch.weight < 1).any()
