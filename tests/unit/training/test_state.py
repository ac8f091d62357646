"""Checkpoints: written whole or not at all, plain data only, rejected by name if damaged."""

from __future__ import annotations

import os
import pickle

import pytest
import torch

from softseg.config.optimizers import Adam, AdamW, Sgd
from softseg.core.errors import UserError
from softseg.runs.checkpoint import read_checkpoint, write_checkpoint
from softseg.training import task as states
from softseg.training.loop import train_epoch
from softseg.training.task import StoppingProgress
from tests.support.tiny import Watcher, tiny_state, tiny_task


def test_a_restored_state_equals_the_saved_one(tmp_path):
    task = tiny_task()
    saved = tiny_state(task)
    saved.epoch, saved.history = 2, [{"epoch": 1, "val_loss": 0.5}]
    saved.progress = StoppingProgress(best=0.25, reference=0.5, waited=1)
    write_checkpoint(states.checkpoint(saved), tmp_path / "last.pt")
    restored = tiny_state(tiny_task(seed=4))
    states.restore(restored, tmp_path / "last.pt")
    assert restored.epoch == 2
    assert (restored.history, restored.progress) == (saved.history, saved.progress)
    for expected, actual in zip(saved.model.parameters(), restored.model.parameters(), strict=True):
        assert torch.equal(expected, actual)


ADAM, ADAMW, SGD = Adam(), AdamW(), Sgd()


def trained_checkpoint(path, optimizer=ADAM, **of_group):
    """Write a checkpoint after one epoch, whose optimizer's groups have other values."""
    task = tiny_task(optimizer=optimizer)
    state = tiny_state(task)
    train_epoch(state, task, Watcher())
    write_checkpoint(states.checkpoint(state), path)
    saved = torch.load(path, weights_only=True)
    for group in saved["optimizer"]["param_groups"]:
        group.update(of_group)
    torch.save(saved, path)


def weights_after_resuming(path, optimizer=ADAM):
    task = tiny_task(optimizer=optimizer)
    state = tiny_state(task)
    states.restore(state, path)
    train_epoch(state, task, Watcher())
    return state, [parameter.clone() for parameter in state.model.parameters()]


@pytest.mark.parametrize("optimizer", [ADAM, ADAMW, SGD], ids=lambda spec: spec.name)
def test_a_checkpoint_of_a_fused_update_resumes_on_a_cpu_to_the_same_bits(tmp_path, optimizer):
    of_gpu = {"fused": True, "foreach": False}
    of_gpu |= {} if optimizer is SGD else {"capturable": True}
    trained_checkpoint(tmp_path / "gpu.pt", optimizer, **of_gpu)
    trained_checkpoint(tmp_path / "cpu.pt", optimizer)
    state, weights = weights_after_resuming(tmp_path / "gpu.pt", optimizer)
    _, expected = weights_after_resuming(tmp_path / "cpu.pt", optimizer)
    assert all(torch.equal(*pair) for pair in zip(weights, expected, strict=True))
    [group] = state.optimizer.param_groups
    assert (group["fused"], group["foreach"]) == (None, None)
    assert group.get("capturable") == (None if optimizer is SGD else False)


@pytest.mark.parametrize("optimizer", [ADAM, ADAMW, SGD], ids=lambda spec: spec.name)
def test_a_checkpoint_of_a_cpu_resumes_with_a_fused_update(tmp_path, monkeypatch, optimizer):
    trained_checkpoint(tmp_path / "cpu.pt", optimizer)
    _, expected = weights_after_resuming(tmp_path / "cpu.pt", optimizer)
    # torch has this update for a CPU as well
    create = type(optimizer).__call__
    monkeypatch.setattr(type(optimizer), "__call__", lambda *args: create(*args[:3], True))
    state, weights = weights_after_resuming(tmp_path / "cpu.pt", optimizer)
    assert [group["fused"] for group in state.optimizer.param_groups] == [True]
    if optimizer is not SGD:
        assert all(moments["step"] == 6 for moments in state.optimizer.state.values())
    for actual, other in zip(weights, expected, strict=True):
        if actual.dim() == 4:  # the gradients of biases before a norm are rounding errors
            torch.testing.assert_close(actual, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("optimizer", "names"),
    [(ADAM, ("exp_avg", "exp_avg_sq")), (SGD, ("momentum_buffer",))],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_moments_of_a_checkpoint_get_the_memory_format_of_their_parameters(
    tmp_path, optimizer, names
):
    trained_checkpoint(tmp_path / "contiguous.pt", optimizer)
    task = tiny_task(optimizer=optimizer)
    state, contiguous = tiny_state(task), tiny_state(task)
    state.model.to(memory_format=torch.channels_last)
    for restored in (state, contiguous):
        states.restore(restored, tmp_path / "contiguous.pt")
    pairs = zip(state.model.parameters(), contiguous.model.parameters(), strict=True)
    for parameter, same in pairs:
        for name in names:
            moment = state.optimizer.state[parameter][name]
            assert moment.stride() == parameter.stride()
            assert torch.equal(moment, contiguous.optimizer.state[same][name])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_update_is_fused_on_a_gpu():
    task = tiny_task()
    state = tiny_state(task)
    assert [group["fused"] for group in state.optimizer.param_groups] == [None]
    on_gpu = states.initial_state(state.model.cuda(), state.head.cuda(), task.trainer)
    assert [group["fused"] for group in on_gpu.optimizer.param_groups] == [True]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_a_damaged_checkpoint_is_rejected_by_name(tmp_path, damage):
    path = tmp_path / "last.pt"
    write_checkpoint(states.checkpoint(tiny_state(tiny_task())), path)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    kinds = {"truncated": content[:-100], "empty": b"", "text": b"hello", "flipped": content}
    path.write_bytes(kinds[damage])
    with pytest.raises(UserError, match=r"last\.pt"):
        states.restore(tiny_state(tiny_task()), path)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_a_pickle_with_code_is_rejected_and_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Bomb(), "head": {}, "epoch": 1}, tmp_path / "zip.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Bomb()))
    for name in ("zip.pt", "raw.pt"):
        with pytest.raises(UserError, match=name):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "pwned").exists()


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    state = tiny_state(tiny_task())
    write_checkpoint(states.checkpoint(state), path)
    before = path.read_bytes()

    def fails(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="disk full"):
        write_checkpoint(states.checkpoint(state), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
