"""300 epochs take no more of the machine than 20 did."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support import project

EARLY, LATE = 20, 300
MIB = 2**20
# Python's and torch's heaps may take a little more until they have found their size
MEMORY = 8 * MIB
WATCHED = """
import ctypes, gc, json, os, sys, tempfile
from pathlib import Path
from rich.console import Console
from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.training.train import train
from softseg.training.recorder import RunRecorder

keep, folder, found = RunRecorder.epoch, Path("run"), {}

def epoch(self, state, *told):
    keep(self, state, *told)
    if state.epoch in (EARLY, LATE):
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        resident = int(Path("/proc/self/statm").read_text().split()[1])
        found[state.epoch] = {
            "memory": resident * os.sysconf("SC_PAGE_SIZE"),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "threads": len(os.listdir("/proc/self/task")),
            "temporary": sorted(map(str, Path(tempfile.gettempdir()).rglob("*"))),
            "cache": sorted(map(str, Path("runs").rglob("*"))),
            "run": {str(p): p.stat().st_size for p in folder.rglob("*") if p.is_file()},
        }

RunRecorder.epoch = epoch
sets = [f"trainer.max_epochs={LATE}", "trainer.early_stopping=null"]
train(load_config(Path("tiny.yaml"), Experiment, sets), folder, Console(quiet=True))
print(json.dumps(found))
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="asks /proc"),
]


@pytest.fixture(scope="module")
def after(tmp_path_factory):
    """What the process and its folders held after an early and after the last epoch."""
    folder = tmp_path_factory.mktemp("project")
    project.make(folder)
    (folder / "tmp").mkdir()
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp")}
    code = f"EARLY, LATE = {EARLY}, {LATE}\n{WATCHED}"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True,
                          text=True, timeout=900)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return found[str(EARLY)], found[str(LATE)]


def test_memory_does_not_grow(after):
    early, late = after
    assert late["memory"] - early["memory"] < MEMORY


@pytest.mark.parametrize("what", ["descriptors", "threads", "temporary", "cache"])
def test_nothing_piles_up(after, what):
    early, late = after
    assert late[what] == early[what]


def test_a_runs_folder_gains_a_preview_now_and_then_and_longer_logs(after):
    early, late = after[0]["run"], after[1]["run"]
    previews = {f"run/previews/epoch-{epoch:05}.safetensors" for epoch in (50, 100, 200)}
    assert late.keys() - early.keys() == previews
    assert early.keys() <= late.keys()
    grown = {name for name in early if late[name] > early[name]}
    logs = {name for name in grown if "/tensorboard/" in name}
    assert grown - logs == {"run/history.csv", "run/checkpoints/last.pt"}
    told = sum(late[name] - early[name] for name in grown - logs)
    assert told < 4096 * (LATE - EARLY)  # the numbers of an epoch
