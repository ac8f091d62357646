"""The thread that writes checkpoints: how often, in which order, what a kill or an error leaves."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch

from softseg.core.device import copy_to_host
from softseg.core.errors import TrainingError
from softseg.runs.checkpoint import read_checkpoint, write_checkpoint
from softseg.runs.folder import read_history
from softseg.training import checkpoint_writer
from softseg.training.checkpoint_writer import CheckpointWriter
from softseg.training.loop import fit
from softseg.training.recorder import RunRecorder, read_progression
from softseg.training.task import checkpoint
from tests.support.tiny import tiny_state, tiny_task

NEVER = 1e9  # seconds between checkpoints


def of_epoch(epoch):
    """A checkpoint with nothing but what the writer reads."""
    return {"model": {"weight": torch.tensor(epoch)}, "head": {}, "epoch": epoch, "history": []}


class Disk:
    """Writes the files of epochs with a writer and records what is written, in order.

    `clock` is the time in seconds. While `blocked`, the thread waits in the first file.
    """

    def __init__(self, folder, monkeypatch):
        self.folder, self.clock, self.written, self.sizes = folder, 0.0, [], []
        self.free, self.taken = threading.Event(), threading.Event()
        self.free.set()
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(checkpoint_writer, "monotonic", lambda: self.clock)
        monkeypatch.setattr(checkpoint_writer, "write_checkpoint", self.write)

    def write(self, values, path):
        write_checkpoint(values, path)
        self.written.append((path.stem, values["epoch"]))
        self.sizes.append(path.stat().st_size)

    def submit(self, writer, epoch, best=False, wait=True):
        """Submit an epoch; wait until the thread has taken it."""
        taken = self.taken = threading.Event()

        def history():
            taken.set()
            assert self.free.wait(20)
            self.written.append(("history", epoch))

        writer.submit(of_epoch(epoch), best, {"history": history})
        if wait:
            assert taken.wait(20)

    def epochs(self):
        paths = (self.folder / f"checkpoints/{name}.pt" for name in ("best", "last"))
        return [read_checkpoint(path)["epoch"] for path in paths]


@pytest.fixture
def disk(tmp_path, monkeypatch):
    return Disk(tmp_path, monkeypatch)


@pytest.mark.parametrize(("seconds", "saved"), [
    (30, [1, 4, 7, 10, 12]),  # the last one at the end
    (0, list(range(1, 13))),
    (NEVER, [1, 12]),
])  # fmt: skip
def test_checkpoints_are_written_at_most_every_n_seconds_and_at_the_end(disk, seconds, saved):
    writer = CheckpointWriter(disk.folder, seconds, 0)
    for epoch in range(1, 13):
        with writer._changed:  # the thread sees the new time and the new epoch at once
            disk.clock = 10.0 * epoch
            disk.submit(writer, epoch, wait=False)
        assert disk.taken.wait(20)
    writer.close()
    assert [epoch for name, epoch in disk.written if name == "last"] == saved
    assert [epoch for name, epoch in disk.written if name == "history"] == list(range(1, 13))
    assert len(disk.sizes) == len(saved)
    assert sum(disk.sizes) < len(saved) * 3000  # bytes


def test_a_waiting_checkpoint_is_written_when_its_time_has_come_within_an_epoch(disk):
    writer = CheckpointWriter(disk.folder, 0.2, 0)
    checkpoint_writer.monotonic = time.monotonic  # the fixture restores it
    disk.submit(writer, 1)
    disk.submit(writer, 2)
    end = time.monotonic() + 20
    while ("last", 2) not in disk.written and time.monotonic() < end:
        time.sleep(0.01)
    assert [entry for entry in disk.written if entry[0] == "last"] == [("last", 1), ("last", 2)]
    writer.close()


def test_a_best_epoch_that_was_not_due_is_written_with_the_next_checkpoint(disk):
    writer = CheckpointWriter(disk.folder, 30, 0)
    for epoch in (1, 2, 3, 4):
        disk.submit(writer, epoch, best=epoch in (1, 3))
    writer.close()
    assert disk.epochs() == [3, 4]
    assert disk.written[-2:] == [("new-best", 3), ("last", 4)]
    assert not (disk.folder / "checkpoints/new-best.pt").exists()


def test_a_busy_thread_does_not_hold_up_training_and_writes_the_newest_epoch(disk):
    writer = CheckpointWriter(disk.folder, 0, 0)
    disk.free.clear()
    disk.submit(writer, 1, best=True)
    for epoch in range(2, 7):
        disk.submit(writer, epoch, best=epoch == 4, wait=False)  # returns though the disk is stuck
    assert disk.written == []
    disk.free.set()
    writer.close()
    assert disk.written == [
        ("history", 1), ("new-best", 1), ("last", 1),
        ("history", 6), ("new-best", 4), ("last", 6),
    ]  # fmt: skip
    assert disk.epochs() == [4, 6]


def test_files_with_other_names_are_not_replaced(disk):
    writer = CheckpointWriter(disk.folder, 0, 0)
    disk.free.clear()
    disk.submit(writer, 1)
    written = []
    for epoch, name in [(2, "kept 2"), (3, "other"), (4, "other")]:
        writer.submit(of_epoch(epoch), False, {name: lambda epoch=epoch: written.append(epoch)})
    disk.free.set()
    writer.close()
    assert written == [2, 4]


def test_an_error_of_the_thread_is_raised_once_at_the_next_epoch_or_at_the_end(disk):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    for end in (lambda w: w.submit(of_epoch(2), False, {}), lambda w: w.close()):
        writer = CheckpointWriter(disk.folder, 0, 0)
        writer.submit(of_epoch(1), True, {"history": full})
        writer._thread.join(20)
        with pytest.raises(OSError, match="No space left"):
            end(writer)
        writer.close()  # not again


@pytest.mark.parametrize("seconds", [0, NEVER])
def test_a_small_file_that_cannot_be_written_costs_no_epoch(disk, seconds):
    def full():
        raise OSError(errno.EIO, "Input/output error")

    writer = CheckpointWriter(disk.folder, seconds, 0)
    disk.submit(writer, 1, best=True)
    writer.submit(of_epoch(2), True, {"history": full})
    assert writer._ended.wait(20)
    assert disk.epochs() == [2, 2]
    with pytest.raises(OSError, match="Input/output"):
        writer.close()


@pytest.mark.parametrize(("stop", "left"), [
    ("new-best.pt", [1, 2]), ("last.pt", [1, 2]), ("best.pt", [3, 3]), ("", [3, 3]),
])  # fmt: skip
def test_after_a_kill_at_any_file_best_is_the_best_epoch_up_to_last(disk, monkeypatch, stop, left):
    """Without deterministic algorithms, an epoch that is repeated may not be the best again."""
    writer = CheckpointWriter(disk.folder, 0, 0)
    disk.submit(writer, 1, best=True)
    disk.submit(writer, 2)
    writer.close()
    rename = Path.replace

    def killed(path, target):
        if target.name == stop:
            raise SystemExit
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        writer = CheckpointWriter(disk.folder, 0, 2)
        disk.submit(writer, 3, best=True)
        with nullcontext() if not stop else pytest.raises(SystemExit):
            writer.close()
    CheckpointWriter(disk.folder, 0, disk.epochs()[1]).close()
    assert disk.epochs() == left
    assert {path.name for path in disk.folder.glob("checkpoints/*")} == {"best.pt", "last.pt"}


def test_a_folder_that_is_deleted_while_it_is_written_to_is_created_again(
    disk, monkeypatch, caplog
):
    def write(values, path):
        if values["epoch"] == 2 and not caplog.messages:
            shutil.rmtree(path.parent)
        disk.write(values, path)

    monkeypatch.setattr(checkpoint_writer, "write_checkpoint", write)
    writer = CheckpointWriter(disk.folder, 0, 0)
    disk.submit(writer, 1)
    disk.submit(writer, 2, best=True)
    writer.close()
    assert disk.epochs() == [2, 2]
    assert ["checkpoints/ was deleted" in message for message in caplog.messages] == [True]


def test_giving_up_drops_what_waits_and_completes_the_file_that_is_being_written(disk):
    writer = CheckpointWriter(disk.folder, 0, 0)
    disk.free.clear()
    disk.submit(writer, 1)
    disk.submit(writer, 2, wait=False)
    threading.Timer(0.1, disk.free.set).start()
    writer.give_up()
    assert writer._ended.is_set()
    assert disk.written == [("history", 1)]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="POSIX only")
def test_closing_again_after_an_interruption_waits_for_the_thread(disk):
    """A real signal: before Python 3.13, the thread would count as ended after it."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        writer = CheckpointWriter(disk.folder, 0, 0)
        disk.free.clear()
        disk.submit(writer, 1, best=True)
        interrupt = partial(signal.pthread_kill, threading.main_thread().ident, signal.SIGINT)
        threading.Timer(0.2, interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            writer.close()
        assert disk.written == []
        threading.Timer(0.2, disk.free.set).start()
        writer.close()
        assert disk.epochs() == [1, 1]
    finally:
        signal.signal(signal.SIGINT, handler)


def test_later_steps_do_not_change_a_checkpoint():
    task = tiny_task()
    state = tiny_state(task)
    fit(state, task, Silent())
    saved = checkpoint(state)
    before = {name: tensor.clone() for name, tensor in saved["model"].items()}
    moment = saved["optimizer"]["state"][0]["exp_avg"].clone()
    epochs = len(saved["history"])
    state.epoch -= 1
    fit(state, task, Silent())
    assert any(not torch.equal(before[k], v) for k, v in state.model.state_dict().items())
    assert all(torch.equal(before[name], tensor) for name, tensor in saved["model"].items())
    assert torch.equal(saved["optimizer"]["state"][0]["exp_avg"], moment)
    assert len(saved["history"]) == epochs


def test_a_copy_on_the_host_has_the_same_content_layout_and_versions():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    state = net.to(memory_format=torch.channels_last).state_dict()
    copied = copy_to_host({"model": state, "betas": (0.9, [1])})
    assert copied["betas"] == (0.9, [1])
    assert copied["model"]._metadata == state._metadata
    for name, tensor in state.items():
        assert torch.equal(copied["model"][name], tensor)
        assert copied["model"][name].stride() == tensor.stride()
        assert copied["model"][name].data_ptr() != tensor.data_ptr()


class OnGPU(torch.Tensor):
    """A tensor on the CPU that reports to be on a CUDA device."""

    device = torch.device("cuda:0")


def test_copies_from_a_gpu_go_to_pinned_memory_and_are_waited_for_once(monkeypatch):
    """Emulated: reading each tensor by itself would wait for the device each time."""
    events = []

    def empty_like(values, device, pin_memory):
        events.append(("empty", device, pin_memory))
        return Target(values.as_subclass(torch.Tensor))

    class Target:
        def __init__(self, values):
            self.values = values

        def copy_(self, values, non_blocking):
            events.append(("copy", non_blocking))
            return self.values.clone()

    monkeypatch.setattr(torch, "empty_like", empty_like)
    monkeypatch.setattr(
        "softseg.core.device.synchronize", lambda device: events.append(str(device))
    )
    weights = {"a": torch.ones(2).as_subclass(OnGPU), "b": [torch.ones(3).as_subclass(OnGPU)]}
    copied = copy_to_host(weights)
    assert copied["b"][0].tolist() == [1, 1, 1]
    assert events == [("empty", "cpu", True), ("copy", True)] * 2 + ["cuda:0"]


class Silent:
    """Observes nothing."""

    def step(self, slices):
        pass

    def epoch(self, state, record, best, preview):
        pass


def recorder_of(folder, task, seconds=NEVER):
    folder.mkdir()
    images, targets = task.stack.image[-1:], task.stack.target[-1:]
    return RunRecorder(folder, 0, images, targets, 0, checkpoint_seconds=seconds)


def end_in_epoch(number, error, monkeypatch):
    """Let training end with an error within an epoch, after its weights have changed."""
    from softseg.training import loop

    def validate(state, task):
        if state.epoch + 1 == number:
            raise error
        return original(state, task)

    original = loop.validate
    monkeypatch.setattr(loop, "validate", validate)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TrainingError("nan"), MemoryError()])
def test_whatever_ends_training_the_last_completed_epoch_is_written(tmp_path, monkeypatch, error):
    whole = tiny_state(task := tiny_task(max_epochs=3))
    with recorder_of(tmp_path / "whole", task) as recorder:
        fit(whole, task, recorder)
    end_in_epoch(4, error, monkeypatch)
    longer = tiny_task(max_epochs=9, schedule={"name": "constant"})
    state = tiny_state(longer)
    with pytest.raises(type(error)), recorder_of(tmp_path / "cut", longer) as recorder:
        fit(state, longer, recorder)
    last = read_checkpoint(tmp_path / "cut/checkpoints/last.pt")
    assert last["epoch"] == 3
    assert [row["epoch"] for row in last["history"]] == [1, 2, 3]
    assert pd.read_csv(tmp_path / "cut/history.csv")["epoch"].tolist() == [1, 2, 3]
    best = min(last["history"], key=lambda row: row["val_loss"])["epoch"]
    assert read_checkpoint(tmp_path / "cut/checkpoints/best.pt")["epoch"] == best


def test_resuming_removes_what_a_killed_run_recorded_after_its_checkpoint(tmp_path):
    task = tiny_task(max_epochs=5)
    with recorder_of(tmp_path / "run", task) as recorder:
        fit(tiny_state(task), task, recorder)
    history = (tmp_path / "run/history.csv").read_bytes()
    images, targets = task.stack.image[-1:], task.stack.target[-1:]
    RunRecorder(tmp_path / "run", 2, images, targets, 0).close()
    assert (tmp_path / "run/history.csv").read_bytes() == b"".join(history.splitlines(True)[:3])
    assert list(read_progression(tmp_path / "run").predictions) == [1, 2]
    RunRecorder(tmp_path / "run", 0, images, targets, 0).close()
    assert read_history(tmp_path / "run").empty
    assert not read_progression(tmp_path / "run").predictions


def test_an_error_in_closing_does_not_hide_what_ended_training(tmp_path, monkeypatch, caplog):
    def full(values, path):
        if values["epoch"] > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write_checkpoint(values, path)

    task = tiny_task(max_epochs=3)
    end_in_epoch(3, TrainingError("the loss is not a number"), monkeypatch)
    monkeypatch.setattr(checkpoint_writer, "write_checkpoint", full)
    with (
        pytest.raises(TrainingError, match="not a number"),
        recorder_of(tmp_path / "run", task) as recorder,
    ):
        fit(tiny_state(task), task, recorder)
    (message,) = caplog.messages
    assert "last.pt: No space left on device" in message or "new-best.pt: No space" in message
    assert "training resumes from an earlier one" in message
