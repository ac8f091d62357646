"""A run of 300 epochs uses no more memory, files and threads than one of 20."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import project

EARLY, LATE = 20, 300
MIB = 2**20
# the heaps of Python and torch may still grow a little after 20 epochs
MEMORY = 8 * MIB
SCRIPT = """
import ctypes, gc, json, os, sys, tempfile
from pathlib import Path
from rich.console import Console
from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.training.train import train
from softseg.training.recorder import RunRecorder
from tests.support.checkpoint_thread import settle_after_every_epoch

settle_after_every_epoch()
record, folder, resources = RunRecorder.epoch, Path("run"), {}

def epoch(self, state, *arguments):
    record(self, state, *arguments)
    if state.epoch in (EARLY, LATE):
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        resident = int(Path("/proc/self/statm").read_text().split()[1])
        resources[state.epoch] = {
            "memory": resident * os.sysconf("SC_PAGE_SIZE"),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "threads": len(os.listdir("/proc/self/task")),
            "temporary": sorted(map(str, Path(tempfile.gettempdir()).rglob("*"))),
            "cache": sorted(map(str, Path("runs").rglob("*"))),
            "run": {str(p): p.stat().st_size for p in folder.rglob("*") if p.is_file()},
        }

RunRecorder.epoch = epoch
sets = [f"trainer.max_epochs={LATE}", "trainer.checkpoint_seconds=0", "trainer.early_stopping=null"]
train(load_config(Path("tiny.yaml"), Experiment, sets), folder, Console(quiet=True))
print(json.dumps(resources))
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.fixture(scope="module")
def after(tmp_path_factory):
    """Return what the process and its folders used after an early and after the last epoch."""
    folder = tmp_path_factory.mktemp("project")
    project.make(folder)
    (folder / "tmp").mkdir()
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp"),
           "PYTHONPATH": str(Path(__file__).parents[3])}  # fmt: skip
    code = f"EARLY, LATE = {EARLY}, {LATE}\n{SCRIPT}"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True,
                          text=True, timeout=900)  # fmt: skip
    assert done.returncode == 0, done.stderr
    resources = json.loads(done.stdout.splitlines()[-1])
    return resources[str(EARLY)], resources[str(LATE)]


def test_memory_does_not_grow(after):
    early, late = after
    assert late["memory"] - early["memory"] < MEMORY


@pytest.mark.parametrize("resource", ["descriptors", "threads", "temporary", "cache"])
def test_files_and_threads_do_not_accumulate(after, resource):
    early, late = after
    assert late[resource] == early[resource]


def test_a_runs_folder_gains_only_previews_and_longer_logs(after):
    early, late = after[0]["run"], after[1]["run"]
    previews = {f"run/previews/epoch-{epoch:05}.safetensors" for epoch in (50, 100, 200)}
    assert late.keys() - early.keys() == previews
    assert early.keys() <= late.keys()
    longer = {name for name in early if late[name] > early[name]}
    logs = {name for name in longer if "/tensorboard/" in name}
    assert longer - logs == {"run/history.csv", "run/checkpoints/last.pt"}
    growth = sum(late[name] - early[name] for name in longer - logs)
    assert growth < 4096 * (LATE - EARLY)  # the numbers of an epoch
