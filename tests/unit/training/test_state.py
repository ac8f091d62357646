"""Checkpoints: written whole or not at all, plain data only, rejected by name if damaged."""

from __future__ import annotations

import os
import pickle

import pytest
import torch

from softseg.core.errors import UserError
from softseg.runs.checkpoint import read_checkpoint
from softseg.training import task as states
from softseg.training.task import StoppingProgress
from tests.support.tiny import tiny_state, tiny_task


def test_a_restored_state_equals_the_saved_one(tmp_path):
    task = tiny_task()
    saved = tiny_state(task)
    saved.epoch, saved.history = 2, [{"epoch": 1, "val_loss": 0.5}]
    saved.progress = StoppingProgress(best=0.25, reference=0.5, waited=1)
    states.save_state(saved, tmp_path / "last.pt")
    restored = tiny_state(tiny_task(seed=4))
    states.restore(restored, tmp_path / "last.pt")
    assert restored.epoch == 2
    assert (restored.history, restored.progress) == (saved.history, saved.progress)
    for expected, actual in zip(saved.model.parameters(), restored.model.parameters(), strict=True):
        assert torch.equal(expected, actual)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_a_damaged_checkpoint_is_rejected_by_name(tmp_path, damage):
    path = tmp_path / "last.pt"
    states.save_state(tiny_state(tiny_task()), path)
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
    states.save_state(state, path)
    before = path.read_bytes()

    def fails(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="disk full"):
        states.save_state(state, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
