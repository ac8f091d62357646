"""The cost of an epoch in reads, copies and operations, which are counted, not timed.

Reads on a CPU cannot be counted, so a tensor on `meta` replaces one on an accelerator.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from softseg import losses
from softseg.preprocess.steps import Standardize
from softseg.training import loop
from softseg.training.batches import collate, epoch_batches
from softseg.training.loop import train_epoch, validate
from tests.support.losses import EVERY, label
from tests.support.steps import augment_steps
from tests.support.tiny import Watcher, tiny_stack, tiny_state, tiny_task

BOUNDARY = {
    "name": "combination",
    "terms": [{"loss": {"name": "dice"}}, {"loss": {"name": "boundary"}}],
}


def move(device, task):
    """Return a network and its task on a device; `meta` has shapes but no values to read."""
    state = tiny_state(task, depth=1)
    state.model.to(device)
    state.head.to(device)
    return state, replace(task, stack=task.stack.to(device), device=device)


@pytest.fixture
def meta(monkeypatch):
    """A device that raises an error for every operation that makes the host wait, as in `READS`."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # does not support meta
    return torch.device("meta")


READS = {
    "item": lambda t: t[0].item(),
    "float": lambda t: float(t[0]),
    "bool": lambda t: bool((t > 0).any()),
    "tolist": lambda t: t.tolist(),
    "cpu": lambda t: t.cpu(),
    "to": lambda t: t.to("cpu"),
    "numpy": lambda t: t.numpy(),
    "copy_": lambda t: torch.zeros(3).copy_(t),
    "equal": lambda t: torch.equal(t, t),
    "nonzero": lambda t: t.nonzero(),
    "indexing with a mask": lambda t: t[t > 0],
    "unique": lambda t: t.unique(),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_the_meta_device_rejects_every_way_of_reading(meta, read):
    read(torch.ones(3))
    with pytest.raises((RuntimeError, NotImplementedError, TypeError)):
        read(torch.ones(3, device=meta))


def full_task(loss):
    """Return a task with raters, maps, rare foreground, clipping and standardizing."""
    stack = tiny_stack()
    masks = torch.rand(len(stack.image), 2, *stack.target.shape[1:])
    volumes = tuple(replace(volume, raters=2) for volume in stack.volumes)
    stack = replace(stack, raters=masks, maps=masks[:, :1], volumes=volumes)
    task = tiny_task(stack, oversample_foreground=0.5, clip_gradient=1.0)
    steps = augment_steps([{"affine": {}}, {"binarize": {}}])
    return replace(
        task, loss=losses.build(loss), augment=steps, restandardize=Standardize(over="slice")
    )


@pytest.mark.parametrize("loss", [*EVERY, BOUNDARY], ids=label)
def test_no_loss_reads_a_value_within_an_epoch(meta, loss):
    state, task = move(meta, full_task(loss))
    train_epoch(state, task, Watcher())
    validate(state, task)


@pytest.mark.parametrize("scope", ["batch", "sample", "running", "published"])
def test_no_head_or_prefetching_reads_a_value_within_an_epoch(meta, scope):
    task = full_task({"name": "dice"})
    state = tiny_state(task, head={"name": "normrelu", "scope": scope})
    state.model.to(meta)
    state.head.to(meta)
    before = threading.active_count()
    train_epoch(state, replace(task, device=meta), Watcher())
    validate(state, replace(task, device=meta))
    assert threading.active_count() == before  # the prefetching thread has ended


class Operations(TorchDispatchMode):
    """Records operations: names, largest allocation, blocking copies, and uses of the stack."""

    def __init__(self, stack=()):
        super().__init__()
        self.names, self.allocated, self.on_stack = [], 0, Counter()
        self.on_device, self.copied, self.blocking = 0, 0, 0  # on another device than the CPU
        self.stack = {part.untyped_storage().data_ptr() for part in stack}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.names.append(str(func))
        tensors = [value for value in args if isinstance(value, torch.Tensor)]
        storages = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        self.on_stack[str(func)] += bool(storages & self.stack)
        if isinstance(out, torch.Tensor) and out.untyped_storage().data_ptr() not in storages:
            self.allocated = max(self.allocated, out.untyped_storage().nbytes())
        moved = str(func).startswith(("aten._to_copy", "aten.copy_")) and tensors[-1].is_cpu
        to_device = moved and not out.is_cpu
        self.on_device += isinstance(out, torch.Tensor) and not out.is_cpu
        self.copied += to_device
        self.blocking += to_device and not (kwargs or {}).get("non_blocking")
        return out


def count_operations(task, part, monkeypatch=None):
    """Return the operations of one epoch of a function; with `monkeypatch`, without its steps."""
    state = tiny_state(task, depth=1)
    if monkeypatch:
        result = (torch.zeros(()), torch.ones(4, 1, 24, 24))
        monkeypatch.setattr(loop, "train_step", lambda *_: result)
    arguments = (state, task) if part is validate else (state, task, Watcher())
    with Operations([task.stack.image, task.stack.target]) as operations:
        part(*arguments)
    return operations


@pytest.mark.parametrize("part", [train_epoch, validate])
def test_an_epoch_costs_the_same_with_a_larger_stack(part):
    """Two stacks with the same 12 slices and the same volume; one is eleven times as large."""
    small, large = tiny_task(), tiny_task(tiny_stack(volumes=44))
    large = replace(large, rows=small.rows, foreground=small.foreground)
    for _ in range(2):  # some values, such as the positions of voxels, are computed once
        of_small, of_large = (count_operations(task, part) for task in (small, large))
    assert of_small.names == of_large.names
    assert of_small.allocated == of_large.allocated < large.stack.image.nbytes
    assert {name for name, count in of_large.on_stack.items() if count} == {"aten.index.Tensor"}


def test_every_step_adds_the_same_number_of_operations_and_few_outside_the_network(monkeypatch):
    def operations(volumes, without=None):
        task = tiny_task(tiny_stack(volumes=volumes), batch_size=4)  # one step per volume
        return len(count_operations(task, train_epoch, without).names)

    few, some, many = (operations(volumes) for volumes in (3, 4, 6))
    assert many - some == 2 * (some - few)
    few, some, many = (operations(volumes, monkeypatch) for volumes in (3, 4, 6))
    assert many - some == 2 * (some - few)
    assert some - few <= 100  # gathering, the affine, the sums


@pytest.mark.parametrize("where", ["device", "host"])
def test_no_epoch_copies_to_the_device_synchronously(meta, where):
    """A blocking copy from the host waits for all earlier operations of the device."""
    state, task = move(meta, full_task({"name": "dice"}))
    if where == "host":
        task = replace(full_task({"name": "dice"}), device=meta)
    [rows] = task.validation_rows  # these are copied once, before the first epoch
    assert rows.device == task.stack.image.device
    with Operations() as operations:
        train_epoch(state, task, Watcher())
        validate(state, task)
    assert operations.copied > 0
    assert operations.blocking == 0


def test_the_affine_of_a_batch_costs_one_copy_and_few_operations_on_the_device(meta):
    task = replace(full_task({"name": "dice"}), spacings=torch.linspace(0.5, 2, 32).view(16, 2))
    _, task = move(meta, task)
    batch = collate(task, task.rows[:4], torch.Generator(), task.rows[:4].to(meta))
    task.augment[0](batch, torch.Generator())  # the positions of pixels are computed once
    with Operations() as operations:
        task.augment[0](batch, torch.Generator())
    assert operations.copied == 1
    assert operations.on_device <= 21  # 12 of them views; the matrices would be another 30


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_step_waits_for_the_gpu():
    state, task = move(torch.device("cuda"), tiny_task(tiny_stack(volumes=13)))
    steps = epoch_batches(task, task.rows, torch.Generator(), torch.Generator())
    loop.train_step(state, task, next(steps))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in steps:
            loop.train_step(state, task, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
