"""Choosing where to compute: what is asked for, or a message that names what there is."""

from __future__ import annotations

import re

import pytest
import torch

from softseg.core.device import (
    autocast,
    available,
    free_bytes,
    memory_format,
    pick,
    precision,
    synchronize,
)
from softseg.core.errors import UserError
from softseg.models.predictor import Predictor
from softseg.training.loop import fit
from tests.support.tiny import Watcher, tiny_state, tiny_task


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many CUDA devices, and Apple's or not."""

    def of(cuda, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return of


@pytest.mark.parametrize(
    ("cuda", "mps", "there"),
    [
        (0, False, ["cpu"]),
        (2, False, ["cuda:0", "cuda:1", "cpu"]),
        (0, True, ["mps", "cpu"]),
    ],
)
def test_auto_takes_the_best_device(machine, cuda, mps, there):
    machine(cuda, mps)
    assert available() == there
    assert pick("auto") == torch.device(there[0])
    assert pick("cpu") == torch.device("cpu")


def test_a_numbered_device_that_is_there(machine):
    machine(2)
    assert pick("cuda:1") == torch.device("cuda:1")
    assert pick("cuda").type == "cuda"


@pytest.mark.parametrize(
    ("cuda", "name", "there"),
    [
        (0, "cuda", "cpu"),
        (0, "cuda:0", "cpu"),
        (0, "mps", "cpu"),
        (2, "cuda:2", "cuda:0, cuda:1, cpu"),
        (2, "mps", "cuda:0, cuda:1, cpu"),
        (1, "tpu", "cuda:0, cpu"),
    ],
)
def test_a_device_that_is_not_there_is_refused_naming_those_that_are(machine, cuda, name, there):
    machine(cuda)
    expected = f"device `{name}` is not on this machine; there are: {there}"
    with pytest.raises(UserError, match=f"^{re.escape(expected)}$"):
        pick(name)


def test_bfloat16_is_for_the_network_only_inside_the_context():
    cpu = torch.device("cpu")
    layer, x = torch.nn.Linear(4, 4), torch.rand(2, 4)
    with autocast(cpu, "float32"):
        assert layer(x).dtype == torch.float32
    with autocast(cpu, "bf16"):
        assert layer(x).dtype == torch.bfloat16
    assert layer(x).dtype == torch.float32


def test_waiting_for_the_cpu_is_nothing():
    synchronize(torch.device("cpu"))


@pytest.mark.parametrize(
    ("device", "precision", "chosen"),
    [
        ("cpu", "float32", "channels_last"),
        ("cuda", "bf16", "channels_last"),
        ("cuda", "float32", "contiguous"),
        ("mps", "float32", "contiguous"),
    ],
)
def test_auto_puts_channels_last_where_convolutions_are_faster_so(device, precision, chosen):
    assert memory_format("auto", torch.device(device), precision) == chosen
    assert memory_format("contiguous", torch.device(device), precision) == "contiguous"


@pytest.mark.parametrize(
    ("device", "capability", "chosen"),
    [("cuda", (8, 0), "bf16"), ("cuda", (7, 5), "float32"), ("mps", None, "float32")],
)
def test_auto_computes_in_bfloat16_where_a_gpu_does(monkeypatch, device, capability, chosen):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert precision("auto", torch.device(device)) == chosen
    assert precision("float32", torch.device(device)) == "float32"
    assert precision("bf16", torch.device(device)) == "bf16"


@pytest.mark.parametrize(("amx", "chosen"), [(True, "bf16"), (False, "float32")])
def test_auto_computes_in_bfloat16_where_a_cpu_does(monkeypatch, amx, chosen):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": amx})
    assert precision("auto", torch.device("cpu")) == chosen


@pytest.mark.parametrize("head", ["sigmoid", "normrelu"])
def test_bfloat16_changes_soft_values_by_little(head):
    task = tiny_task(max_epochs=8, learning_rate=0.01)
    state = tiny_state(task, {"name": head, "bias": 0.5})
    fit(state, task, Watcher())
    image = task.stack.image[:4]
    soft, coarse = (
        Predictor(state.model, state.head, task.device, how)(image) for how in ("float32", "bf16")
    )
    assert 0.5 < soft.max() <= 1
    assert 0 < (soft - coarse).abs().max() < 0.02


def test_there_is_memory_to_be_had():
    assert 2**20 < free_bytes(torch.device("cpu")) < 2**50
