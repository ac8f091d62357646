"""What only a GPU can show: the same bits, checkpoints of another device, memory that runs out.

`scripts/gpu_acceptance` runs these tests on one, and measures what these promises cost there.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch

from softseg.core.determinism import set_deterministic
from softseg.runs.checkpoint import write_checkpoint
from softseg.training.loop import train_epoch
from softseg.training.task import checkpoint, initial_state, restore
from tests.support.tiny import Watcher, tiny_state, tiny_task

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
GPU, CPU = torch.device("cuda:0"), torch.device("cpu")

if torch.cuda.is_available():  # on import: another test may use cuBLAS first, which reads it once
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture(params=["float32", "bf16"])
def precision(request):
    return request.param


@pytest.fixture
def _deterministic():
    set_deterministic(True, GPU)
    yield
    set_deterministic(False, GPU)


def training(device, dropout=0.2, **trainer):
    """A new tiny network and its task, on a device."""
    task = tiny_task(device=str(device), **trainer)
    cpu = tiny_state(task, dropout=dropout)
    state = initial_state(cpu.model.to(device), cpu.head.to(device), task.trainer)
    return state, replace(task, stack=task.stack.to(device), device=device)


def train(state, task, epochs):
    """Train some epochs; returns the loss of the last one."""
    for _ in range(epochs):
        loss = train_epoch(state, task, Watcher())[0].item()
        state.epoch += 1
    return loss


def equal(state, other):
    pairs = zip(state.model.parameters(), other.model.parameters(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


@pytest.mark.usefixtures("_deterministic")
def test_a_deterministic_training_repeats_to_the_bit(precision):
    trainings = [training(GPU, precision=precision) for _ in range(2)]
    for state, task in trainings:
        train(state, task, epochs=3)
    assert equal(trainings[0][0], trainings[1][0])


@pytest.mark.usefixtures("_deterministic")
def test_a_deterministic_training_resumes_to_the_same_bits(tmp_path, precision):
    whole, task = training(GPU, precision=precision)
    train(whole, task, epochs=4)
    first, task = training(GPU, precision=precision)
    train(first, task, epochs=2)
    write_checkpoint(checkpoint(first), tmp_path / "last.pt")
    second, task = training(GPU, precision=precision)
    restore(second, tmp_path / "last.pt")
    train(second, task, epochs=2)
    assert equal(whole, second)


@pytest.mark.parametrize(("begun", "resumed"), [(GPU, CPU), (CPU, GPU)], ids=str)
def test_a_checkpoint_of_one_device_resumes_on_another(tmp_path, begun, resumed):
    """Without dropout, whose masks differ between devices, the loss does not depend on them."""
    losses = []
    for device in (begun, resumed):
        state, task = training(begun, dropout=0.0)
        train(state, task, epochs=2)
        write_checkpoint(checkpoint(state), tmp_path / "last.pt")
        state, task = training(device, dropout=0.0)
        restore(state, tmp_path / "last.pt")
        losses.append(train(state, task, epochs=1))
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_the_copy_of_a_state_is_pinned_and_stays_as_it_was():
    state, task = training(GPU)
    train(state, task, epochs=1)
    copied, before = checkpoint(state), [p.detach().cpu() for p in state.model.parameters()]
    train(state, task, epochs=1)
    weights = copied["model"]
    assert all(value.is_pinned() for value in weights.values())
    for (name, _), value in zip(state.model.named_parameters(), before, strict=True):
        assert torch.equal(weights[name], value)
