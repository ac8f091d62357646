"""What an epoch costs, counted rather than timed: reads, copies, operations.

A CPU has no reads to count: a tensor on `meta` stands for one on an accelerator.
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
from softseg.training import loop
from softseg.training.batches import epoch_batches
from softseg.training.loop import train_epoch, validate
from tests.support.losses import EVERY, label
from tests.support.steps import augment_steps
from tests.support.tiny import Watcher, tiny_stack, tiny_state, tiny_task

BOUNDARY = {
    "name": "combination",
    "terms": [{"loss": {"name": "dice"}}, {"loss": {"name": "boundary"}}],
}


def on(device, task):
    """A task and its network on a device; `meta` has shapes, but no values that could be read."""
    state = tiny_state(task, depth=1)
    state.model.to(device)
    state.head.to(device)
    counts = task.rater_counts.to(device)
    moved = replace(task, stack=task.stack.to(device), rater_counts=counts, device=device)
    return state, moved


@pytest.fixture
def meta(monkeypatch):
    """A device that refuses whatever would make the host wait for a value, as in `READS`."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no meta
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
def test_the_guard_refuses_every_way_of_reading(meta, read):
    read(torch.ones(3))
    with pytest.raises((RuntimeError, NotImplementedError, TypeError)):
        read(torch.ones(3, device=meta))


def everything(loss):
    """Raters, maps, rare foreground, clipping, standardizing: all that a step may do."""
    stack = tiny_stack()
    drawn = torch.rand(len(stack.image), 2, *stack.target.shape[1:])
    volumes = tuple(replace(volume, raters=2) for volume in stack.volumes)
    stack = replace(stack, raters=drawn, maps=drawn[:, :1], volumes=volumes)
    task = tiny_task(stack, oversample_foreground=0.5, clip_gradient=1.0)
    steps = augment_steps([{"affine": {}}, {"binarize": {}}])
    return replace(task, loss=losses.build(loss), augment=steps, restandardize=True)


@pytest.mark.parametrize("loss", [*EVERY, BOUNDARY], ids=label)
def test_nothing_is_read_back_within_an_epoch(meta, loss):
    state, task = on(meta, everything(loss))
    train_epoch(state, task, Watcher())
    validate(state, task)


@pytest.mark.parametrize("scope", ["batch", "sample", "running"])
def test_nor_by_a_head_or_where_slices_are_fetched_from_the_host(meta, scope):
    task = everything({"name": "dice"})
    state = tiny_state(task, head={"name": "normrelu", "scope": scope})
    state.model.to(meta)
    state.head.to(meta)
    before = threading.active_count()
    train_epoch(state, replace(task, device=meta), Watcher())
    validate(state, replace(task, device=meta))
    assert threading.active_count() == before  # that gathers ahead


class Operations(TorchDispatchMode):
    """Every operation: its name, what it allocates, what blocks the host, what it does to whom."""

    def __init__(self, stack=()):
        super().__init__()
        self.names, self.allocated, self.blocking, self.on_stack = [], 0, 0, Counter()
        self.stack = {part.untyped_storage().data_ptr() for part in stack}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.names.append(str(func))
        given = [one for one in args if isinstance(one, torch.Tensor)]
        known = {one.untyped_storage().data_ptr() for one in given}
        self.on_stack[str(func)] += bool(known & self.stack)
        if isinstance(out, torch.Tensor) and out.untyped_storage().data_ptr() not in known:
            self.allocated = max(self.allocated, out.untyped_storage().nbytes())
        moved = str(func).startswith(("aten._to_copy", "aten.copy_")) and given[-1].is_cpu
        self.blocking += moved and not out.is_cpu and not (kwargs or {}).get("non_blocking")
        return out


def counted(task, part, monkeypatch=None):
    """The operations of training or validating one epoch; with `monkeypatch` without the steps."""
    state = tiny_state(task, depth=1)
    if monkeypatch:
        done = (torch.zeros(()), torch.ones(4, 1, 24, 24))
        monkeypatch.setattr(loop, "train_step", lambda *_: done)
    arguments = (state, task) if part is validate else (state, task, Watcher())
    with Operations([task.stack.image, task.stack.target]) as operations:
        part(*arguments)
    return operations


@pytest.mark.parametrize("part", [train_epoch, validate])
def test_a_larger_stack_costs_an_epoch_no_more(part):
    """The same 12 slices and the same volume of two stacks, one of them eleven times as large."""
    small, large = tiny_task(), tiny_task(tiny_stack(volumes=44))
    large = replace(large, rows=small.rows, foreground=small.foreground)
    found = [counted(task, part) for task in (small, large)]
    assert found[0].names == found[1].names
    assert found[0].allocated == found[1].allocated < large.stack.image.nbytes
    assert {name for name, count in found[1].on_stack.items() if count} == {"aten.index.Tensor"}


def test_every_step_costs_the_same_and_little_beside_the_network(monkeypatch):
    def operations(volumes, without=None):
        task = tiny_task(tiny_stack(volumes=volumes), batch_size=4)  # a step a volume
        return len(counted(task, train_epoch, without).names)

    few, some, many = (operations(volumes) for volumes in (3, 4, 6))
    assert many - some == 2 * (some - few)
    few, some, many = (operations(volumes, monkeypatch) for volumes in (3, 4, 6))
    assert many - some == 2 * (some - few)
    assert some - few <= 70  # gathering, the affine, the sums


def test_no_step_makes_the_host_wait_for_a_copy_to_the_device(meta):
    """A blocking copy from the host waits for all that the device was given before."""
    found = []
    for slices in (4, 12):  # 1 step, 3 steps
        whole = everything({"name": "dice"})
        part = replace(whole, rows=whole.rows[:slices], foreground=whole.foreground[:slices])
        state, task = on(meta, part)
        with Operations() as operations:
            train_epoch(state, task, Watcher())
        found.append(operations.blocking)
    assert found[0] == found[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_step_waits_for_the_gpu():
    state, task = on(torch.device("cuda"), tiny_task(tiny_stack(volumes=13)))
    steps = epoch_batches(task, task.rows, torch.Generator(), torch.Generator())
    loop.train_step(state, task, next(steps))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in steps:
            loop.train_step(state, task, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
