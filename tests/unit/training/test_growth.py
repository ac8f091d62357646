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
from tests.support.tiny import Watcher, tiny_state, tiny_task

TENSORBOARD = "tensorboard/events"
WATCHED = """
import json, os, sys
from softseg.cli.main import main
from softseg.training.recorder import RunRecorder

opened, epochs = [], []
keep = RunRecorder.epoch

def epoch(self, *told):
    keep(self, *told)
    counted = {"opened": list(opened)}
    if sys.platform == "linux":
        counted |= {kind: len(os.listdir(f"/proc/self/{kind}")) for kind in ("fd", "task")}
    epochs.append(counted)
    if len(epochs) == 1:  # whatever reads them after all, in whatever way, fails
        os.rename("data", "no-data")
        os.rename("cache", "no-cache")
    opened.clear()

def watch(event, given):
    if event == "open" and not isinstance(given[0], int):
        opened.append(os.fsdecode(given[0]))

RunRecorder.epoch = epoch
sys.addaudithook(watch)
try:
    main()
finally:
    print(json.dumps(epochs), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """What each epoch of 7 opened; the data and their cache are gone after the first."""
    folder = tmp_path_factory.mktemp("project")
    project.make(folder)
    command = [sys.executable, "-c", WATCHED, "train", "tiny.yaml", "--out", "run"]
    for change in ("dataset.cache=cache", "trainer.max_epochs=7", "trainer.images_every=1"):
        command += ["--set", change]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1])


def outputs(epoch):
    """Which of a run's files an epoch opened, and how often, without temporary names."""
    return Counter(re.sub(r"^.*?run/|\.part-[^-]+-", "", path) for path in epoch["opened"])


def test_after_the_first_epoch_only_outputs_are_opened(watched):
    assert any("data" in Path(path).parts for path in watched[0]["opened"])  # the guard sees them
    assert len(watched) == 7
    kept = {"previews/last.safetensors", "history.csv", "checkpoints/last.pt"}
    for number, epoch in enumerate(watched[1:], start=2):
        once = {"checkpoints/best.pt", f"previews/epoch-{number:05}.safetensors"}
        named = {name for name in outputs(epoch) if not name.startswith(TENSORBOARD)}
        assert kept <= named <= kept | once


def test_epochs_do_not_open_ever_more_files(watched):
    counts = [outputs(epoch) for epoch in watched[1:]]
    for name in ("previews/last.safetensors", "history.csv", "checkpoints/last.pt"):
        assert len({count[name] for count in counts}) == 1
    logged = sum(n for count in counts for name, n in count.items() if TENSORBOARD in name)
    assert logged <= 6 * 10 + 10  # 9 scalars and a picture each, written by a thread


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
@pytest.mark.parametrize("kind", ["fd", "task"], ids=["descriptors", "threads"])
def test_neither_open_files_nor_threads_pile_up(watched, kind):
    assert len({epoch[kind] for epoch in watched[1:]}) == 1


class Sampled(Watcher):
    """Keeps and shows as a run does; samples memory after some epochs."""

    def __init__(self, folder, task):
        super().__init__()
        stack = task.stack
        self.keeper = RunRecorder(folder, 0, stack.image[:1], stack.target[:1], images_every=1)
        console = Console(file=io.StringIO(), force_terminal=True)
        self.display = ProgressDisplay(console, task.trainer.max_epochs, 0, len(task.rows))
        self.samples = {}

    def step(self, slices):
        self.keeper.step(slices)
        self.display.step(slices)

    def epoch(self, state, record, best, preview):
        self.keeper.epoch(state, record, best, preview)
        self.display.epoch(state, record, best, preview)
        self.display.console.file.truncate(self.display.console.file.seek(0))
        if state.epoch in (8, 20):
            self.samples[state.epoch] = sample()


def sample():
    """(live tensors, their bytes, bytes of Python objects)"""
    gc.collect()
    tensors = [one for one in gc.get_objects() if issubclass(type(one), torch.Tensor)]
    traced, _ = tracemalloc.get_traced_memory()
    return len(tensors), sum(one.nbytes for one in tensors), traced


def test_memory_does_not_grow_but_for_the_history(tmp_path):
    task = tiny_task(max_epochs=20)
    state = tiny_state(task, depth=1)
    watcher = Sampled(tmp_path, task)
    gc.freeze()  # not what other tests left behind: get_objects then lists only what is new
    tracemalloc.start()
    try:
        fit(state, task, watcher)
    finally:
        tracemalloc.stop()
        gc.unfreeze()
        watcher.keeper.close()
    (count, size, traced), (later_count, later_size, later_traced) = watcher.samples.values()
    assert (later_count, later_size) == (count, size)
    assert later_traced - traced <= 12 * 4000  # a record takes about 450, the display some


def test_what_an_epoch_returns_holds_on_to_no_graph():
    """A sum of losses that were not detached would keep every step's feature maps alive."""
    task = tiny_task()
    state = tiny_state(task)
    assert not train_epoch(state, task, Watcher()).requires_grad
    assert not any(one.requires_grad for one in loop.validate(state, task))
