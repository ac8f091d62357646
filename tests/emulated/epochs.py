"""An epoch and its validation on the CPU and on the emulated accelerator, step by step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch

from softseg import losses, models
from softseg.core import seeds
from softseg.preprocess.distance_maps import KINDS
from softseg.preprocess.store import VolumeStore
from softseg.runs.build import on_device
from softseg.training import loop
from softseg.training.task import State, Task, initial_state
from tests.support.accelerator import Log, recorded
from tests.support.tiny import SIZE, Watcher, tiny_stack, tiny_task

Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Setup:
    """What is trained, and where its slices are."""

    loss: Spec = field(default_factory=lambda: {"name": "adaptive_wing"})
    head: Spec = field(default_factory=lambda: {"name": "normrelu", "bias": 0.5})
    model: Spec = field(default_factory=dict)  # what differs from a depth of 2 and 4 filters
    steps: Sequence[Spec] = ({"affine": {}},)
    trainer: Spec = field(default_factory=dict)
    task: Spec = field(default_factory=dict)
    prepare: Callable[[VolumeStore], VolumeStore] = lambda stack: stack
    channels: int = 1
    targets: int = 1
    frozen: int = 0
    device: str = "gpu"
    resident: bool = True  # whether the slices are on the device
    tolerance: float = 1e-4  # of losses and predictions; Adam's first steps magnify rounding

    @property
    def has_dropout(self) -> bool:
        """Whether each device draws random numbers of its own."""
        return bool(self.model.get("dropout", 0))


@dataclass(frozen=True)
class Recorded:
    """What the device did in a training epoch and its validation."""

    start: Log  # to the end of the first step
    steps: list[Log]  # each further step
    end: Log
    validation: Log


class StepWatcher(Watcher):
    """Divides a log by steps."""

    def __init__(self, log: Log):
        super().__init__()
        self.log, self.steps = log, []

    def step(self, slices):
        super().step(slices)
        self.steps.append(self.log.take())


def make_task(setup: Setup) -> Task:
    """The task on the CPU: 3 volumes to train on, 1 for validation, 4 slices each."""
    stack = tiny_stack()
    target = torch.cat([stack.target.roll(5 * k, dims=-1) for k in range(setup.targets)], dim=1)
    image = torch.cat([stack.image * 0.9**c for c in range(setup.channels)], dim=1)
    loss = losses.build(setup.loss)
    generator = torch.Generator().manual_seed(7)
    shape = (len(target), len(loss.required_maps), setup.targets, SIZE, SIZE)
    stack = setup.prepare(
        replace(
            stack,
            image=image,
            target=target,
            fill=stack.fill.expand(-1, setup.channels).clone(),
            maps=torch.randn(shape, generator=generator),
            raters=stack.raters.expand(-1, -1, setup.targets, -1, -1),
        )
    )
    task = tiny_task(stack, steps=setup.steps, **setup.trainer)
    return replace(task, loss=loss, **setup.task)


def on_accelerator(task: Task, setup: Setup) -> Task:
    """The same task on the device, its slices there or on the host."""
    device = torch.device(setup.device)
    stack = task.stack.to(device) if setup.resident else task.stack
    return replace(task, device=device, stack=stack)


def make_states(task: Task, setup: Setup) -> tuple[State, State]:
    """The same weights on the CPU and on the device."""
    seeds.reseed_torch(task.seed, "initialisation")
    spec = {"name": "unet2d", "depth": 2, "filters": 4, "dropout": 0, "head": setup.head}
    network = models.build({**spec, **setup.model}, setup.channels, setup.targets)
    models.blocks.freeze(network, setup.frozen)
    head = models.heads.build(setup.head, setup.targets)
    device = torch.device(setup.device)
    twins = on_device(copy.deepcopy(network), copy.deepcopy(head), task.trainer, device)
    return initial_state(network, head, task.trainer), initial_state(*twins, task.trainer)


def compare(setup: Setup, epoch: int = 0) -> Recorded:
    """Train and validate an epoch on both; check that they agree and that no step waits."""
    task = make_task(setup)
    emulated = on_accelerator(task, setup)
    state, twin = make_states(task, setup)
    state.epoch = twin.epoch = epoch
    expected = [loop.train_epoch(state, task, Watcher()), *loop.validate(state, task)]
    with recorded() as log:
        watcher = StepWatcher(log)
        results = [loop.train_epoch(twin, emulated, watcher)]
        start, *steps = watcher.steps
        end = log.take()
        results += loop.validate(twin, emulated)
        done = Recorded(start, steps, end, log.take())
    assert {tensor.device.type for tensor in results} == {"gpu"}
    for result, value in zip(results, expected, strict=True):
        on_host = result.cpu()
        assert torch.isfinite(on_host).all()
        if not setup.has_dropout:
            assert on_host.numpy() == pytest.approx(value.numpy(), abs=setup.tolerance)
    return done


def check(setup: Setup, uploads: int = 1) -> Recorded:
    """Compare, and check that a step never waits and copies this many tensors to the device.

    Maps of lengths need one more: the factors by which the affine scales them.
    """
    done = compare(setup)
    maps = losses.build(setup.loss).required_maps if setup.steps else ()
    uploads += any(KINDS[kind].is_length for kind in maps)
    assert [step.waits for step in done.steps] == [[], []]
    assert [str(read) for read in done.start.reads + done.end.reads] == []
    assert [str(read) for read in done.validation.reads] == []
    assert [len(step.uploads) for step in done.steps] == [uploads] * 2, done.steps[0].uploads
    return done
