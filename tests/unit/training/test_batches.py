"""Batches are the same whether the slices are on the device or are prefetched to it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from softseg.core import seeds
from softseg.core.device import has_room
from softseg.training import batches as batches_module
from softseg.training import loop
from softseg.training.batches import collate, epoch_batches, prefetched_batches, single_batch
from tests.support.tiny import Watcher, tiny_stack, tiny_state, tiny_task, with_raters


@pytest.fixture
def task():
    plain = tiny_task(with_raters(tiny_stack()))
    return replace(plain, loss=WithMap(plain.loss))


class WithMap:
    """A loss that requires a map."""

    required_maps = ("half_pixel",)

    def __init__(self, loss):
        self.loss = loss

    def at(self, epoch):
        return self

    def __call__(self, output, target, maps, ignore=None, batch_count=None, weight=None):
        return self.loss(output, target) + (maps["half_pixel"] * output).mean() * 1e-3


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def direct_batches(task, parts):
    """Return the batches of slices that are already on the device, without augmentation."""
    raters = seeded()
    return [collate(task, rows, raters) for rows in parts]


def same(batch, other):
    tensors = [(batch.image, other.image), (batch.target, other.target), (batch.fill, other.fill)]
    tensors += [(batch.maps[kind], other.maps[kind]) for kind in ("half_pixel",)]
    return all(torch.equal(a, b) for a, b in tensors)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_prefetching_gives_the_same_batches_in_the_same_order(task, count):
    parts = torch.arange(2 * count).split(2)
    direct = direct_batches(task, parts)
    prefetched = list(prefetched_batches(task, parts, seeded()))
    assert len(direct) == len(prefetched) == count
    assert all(same(batch, other) for batch, other in zip(direct, prefetched, strict=True))


@pytest.mark.parametrize("name", ["cpu", "cpu:0"])  # as `cuda`, whose tensors are on `cuda:0`
def test_slices_on_the_device_are_not_prefetched_by_whatever_name_it_has(task, monkeypatch, name):
    monkeypatch.setattr(batches_module, "prefetched_batches", None)
    named = replace(task, device=torch.device(name))
    assert len(list(epoch_batches(named, torch.arange(8), seeded(), seeded()))) == 2


def test_an_error_while_prefetching_is_raised(task):
    with pytest.raises(IndexError):
        list(prefetched_batches(task, [torch.tensor([0]), torch.tensor([999])], seeded()))


def test_batches_follow_the_order_and_are_augmented(task):
    order = torch.randperm(12, generator=seeded())
    batches = list(epoch_batches(task, order, seeded(), seeded()))
    assert [len(batch.image) for batch in batches] == [4, 4, 4]
    plain = direct_batches(task, order.split(4))
    assert not any(same(batch, other) for batch, other in zip(batches, plain, strict=True))
    unaugmented = replace(task, augment=())
    batches = list(epoch_batches(unaugmented, order, seeded(), seeded()))
    assert all(same(batch, other) for batch, other in zip(batches, plain, strict=True))


def test_training_equals_a_plain_loop_over_batches(task):
    """Compare more than 20 steps with a loop over single slices, with the same augmentation."""
    state, reference = tiny_state(task), tiny_state(task)
    watcher = Watcher()
    losses = []
    for _ in range(7):  # 3 steps an epoch
        losses.append(float(loop.train_epoch(state, task, watcher)[0]))
        state.epoch += 1
    expected = [plain_epoch(reference, task, epoch) for epoch in range(1, 8)]
    assert watcher.slices >= 20 * 4
    assert losses == pytest.approx(expected, abs=1e-5)


def plain_epoch(state, task, epoch):
    """Train one epoch, collating slice by slice, and return its mean loss."""
    stack, total, count = task.stack, 0.0, 0
    torch.manual_seed(0)
    seeds.reseed_torch(task.seed, "dropout", epoch)
    order = task.rows[torch.randperm(len(task.rows), generator=stream(task, "shuffle", epoch))]
    draws, raters = stream(task, "augment", epoch), stream(task, "raters", epoch)
    state.model.train()
    state.head.train()
    for first in range(0, len(order), task.trainer.batch_size):
        rows = order[first : first + task.trainer.batch_size].tolist()
        which = (torch.rand(len(rows), generator=raters) * 2).long().tolist()
        target = torch.stack([stack.raters[r, w] for r, w in zip(rows, which, strict=True)])
        image = torch.stack([stack.image[r] for r in rows])
        fill = torch.stack([stack.fill[r] for r in rows])
        maps = {"half_pixel": torch.stack([stack.maps[r, 0] for r in rows])}
        batch = task.augment[0](loop.Batch(image, target, fill, maps), draws)
        for parameter in state.model.parameters():
            parameter.grad = None
        output = state.head(state.model(batch.image))
        loss = task.loss(output, batch.target, batch.maps)
        loss.backward()
        state.optimizer.step()
        total, count = total + loss.item() * len(rows), count + len(rows)
    return total / count


def stream(task, name, epoch):
    return seeds.generator(task.seed, name, epoch)


def test_single_batch_contains_the_requested_slices(task):
    assert len(single_batch(task, task.rows[:3]).image) == 3


def test_a_cpu_has_room_for_any_stack():
    assert has_room(torch.device("cpu"), 2**60)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_stack_on_the_host_gives_the_losses_of_one_on_the_gpu(task):
    device = torch.device("cuda")
    on_gpu = replace(task, device=device, stack=task.stack.to(device))
    on_host = replace(task, device=device)
    losses = []
    for task_on_device in (on_gpu, on_host):
        state = tiny_state(task_on_device)
        state.model.to(device)
        losses.append(loop.train_epoch(state, task_on_device, Watcher()).tolist())
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)  # sums in any order
