"""What grows with the epochs of training: its history, and nothing else."""

from __future__ import annotations

import gc
import io
import json
import os
import re
import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
import torch
from rich.console import Console

from softseg.training import loop
from softseg.training.loop import fit, train_epoch
from softseg.training.recorder import ProgressDisplay, RunRecorder
from tests.support import project
from tests.support.checkpoint_thread import settle
from tests.support.tiny import Watcher, tiny_state, tiny_task

ROOT = Path(__file__).parents[3]
TENSORBOARD = "tensorboard/events"
SCRIPT = """
import json, os, sys
from softseg.cli.main import main
from softseg.training.recorder import RunRecorder
from tests.support.checkpoint_thread import settle_after_every_epoch

settle_after_every_epoch()
opened, epochs = [], []
record = RunRecorder.epoch

def epoch(self, *arguments):
    record(self, *arguments)
    counts = {"opened": list(opened)}
    if sys.platform == "linux":
        counts |= {kind: len(os.listdir(f"/proc/self/{kind}")) for kind in ("fd", "task")}
    epochs.append(counts)
    if len(epochs) == 1:  # so that reading them later fails
        os.rename("data", "no-data")
        os.rename("cache", "no-cache")
    opened.clear()

def watch(event, arguments):
    if event == "open" and not isinstance(arguments[0], int):
        opened.append(os.fsdecode(arguments[0]))

RunRecorder.epoch = epoch
sys.addaudithook(watch)
try:
    main()
finally:
    print(json.dumps(epochs), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def epochs(tmp_path_factory):
    """Return the files that each of 7 epochs opened; data and cache are renamed after the first."""
    folder = tmp_path_factory.mktemp("project")
    project.make(folder)
    command = [sys.executable, "-c", SCRIPT, "train", "tiny.yaml", "--out", "run"]
    for change in ("dataset.cache=cache", "trainer.max_epochs=7", "trainer.images_every=1",
                   "trainer.checkpoint_seconds=0"):  # fmt: skip
        command += ["--set", change]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1])


def outputs(epoch):
    """Count how often an epoch opened each of the run's files, without temporary names."""
    return Counter(re.sub(r"^.*?run/|\.part-[^-]+-|~$", "", path) for path in epoch["opened"])


def test_after_the_first_epoch_only_outputs_are_opened(epochs):
    assert any("data" in Path(path).parts for path in epochs[0]["opened"])  # the guard sees them
    assert len(epochs) == 7
    kept = {"previews/last.safetensors", "history.csv", "checkpoints/last.pt"}
    for number, epoch in enumerate(epochs[1:], start=2):
        once = {"checkpoints/new-best.pt", f"previews/epoch-{number:05}.safetensors"}
        named = {name for name in outputs(epoch) if not name.startswith(TENSORBOARD)}
        assert kept <= named <= kept | once


def test_the_number_of_opened_files_does_not_grow(epochs):
    counts = [outputs(epoch) for epoch in epochs[1:]]
    for name in ("previews/last.safetensors", "history.csv", "checkpoints/last.pt"):
        assert len({count[name] for count in counts}) == 1
    logged = sum(n for count in counts for name, n in count.items() if TENSORBOARD in name)
    assert logged <= 6 * 10 + 10  # 9 scalars and a picture each, written by a thread


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["fd", "task"], ids=["descriptors", "threads"])
def test_neither_open_files_nor_threads_accumulate(epochs, kind):
    assert len({epoch[kind] for epoch in epochs[1:]}) == 1


class MemorySampler(Watcher):
    """Records and displays epochs as a run does; samples memory after some epochs."""

    def __init__(self, folder, task):
        super().__init__()
        stack = task.stack
        self.recorder = RunRecorder(folder, 0, stack.image[:1], stack.target[:1], images_every=1)
        console = Console(file=io.StringIO(), force_terminal=True)
        self.display = ProgressDisplay(console, task.trainer.max_epochs, 0, len(task.rows))
        self.samples = {}

    def step(self, slices):
        self.recorder.step(slices)
        self.display.step(slices)

    def epoch(self, state, record, best, preview):
        self.recorder.epoch(state, record, best, preview)
        settle(self.recorder._writer)
        self.display.epoch(state, record, best, preview)
        self.display.console.file.truncate(self.display.console.file.seek(0))
        if state.epoch in (8, 20):
            self.samples[state.epoch] = sample_memory()


def sample_memory():
    """Return the number of live tensors, their bytes and the bytes of Python objects."""
    gc.collect()
    tensors = [value for value in gc.get_objects() if issubclass(type(value), torch.Tensor)]
    traced, _ = tracemalloc.get_traced_memory()
    return len(tensors), sum(tensor.nbytes for tensor in tensors), traced


def test_memory_grows_only_by_the_history(tmp_path):
    task = tiny_task(max_epochs=20)
    state = tiny_state(task, depth=1)
    watcher = MemorySampler(tmp_path, task)
    gc.freeze()  # exclude objects of other tests: get_objects then lists only new ones
    tracemalloc.start()
    try:
        fit(state, task, watcher)
    finally:
        tracemalloc.stop()
        gc.unfreeze()
        watcher.recorder.close()
    (count, size, traced), (later_count, later_size, later_traced) = watcher.samples.values()
    assert (later_count, later_size) == (count, size)
    assert later_traced - traced <= 12 * 4000  # a record takes about 450, the display some


def test_the_results_of_an_epoch_hold_no_graph():
    """A sum of losses without detach would keep the feature maps of every step in memory."""
    task = tiny_task()
    state = tiny_state(task)
    assert not train_epoch(state, task, Watcher()).requires_grad
    assert not any(value.requires_grad for value in loop.validate(state, task))
