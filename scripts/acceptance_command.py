"""Checks of `scripts/gpu_acceptance`: the commands and the tests, each in its own process."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from itertools import takewhile
from subprocess import PIPE, STDOUT
from typing import Any

from acceptance_runner import Outcome
from acceptance_setup import Setup
from bench_parts import CONFIGS
from environment import ROOT

from softseg.runs.folder import read_history

TESTS, MARK = ROOT / "tests", "pytest.mark.gpu"
SOFTSEG = (sys.executable, "-m", "softseg")
JOBS = "--jobs auto: "  # how a line of `ablate` starts
LIMIT = 120.0  # seconds of one command
INTERRUPTED = 130  # exit status


def tests_marked_gpu(_: Setup) -> Outcome:
    """The tests that need a GPU pass."""
    files = [path for path in sorted(TESTS.rglob("test_*.py")) if MARK in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2 * LIMIT)
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-500:]
    values = {"summary": last}
    if done.returncode:
        values["output"] = done.stdout[-4000:]
    return Outcome(values, done.returncode == 0)


def interrupted_and_resumed(setup: Setup) -> Outcome:
    """Train, interrupt, resume on the device and on the CPU, and evaluate on both."""
    run, moved = setup.folder / "command", setup.folder / "moved"
    training = [
        "train", CONFIGS / "quickstart.yaml", *_changes(setup), "--set", "trainer.precision=auto",
        "--set", "trainer.max_epochs=40",
    ]  # fmt: skip
    device, cpu = ("--device", setup.device), ("--device", "cpu")
    values = {"interrupted": _interrupt([*training, "--out", run, *device])}
    shutil.copytree(run, moved)
    commands = {
        "resumed": [*training, "--out", run, *device, "--resume"],
        "evaluated": ["eval", run, "--threshold-search", *device],
    }
    if setup.gpu:  # elsewhere it would be the same again
        commands["resumed on the CPU"] = [*training, "--out", moved, *cpu, "--resume"]
        commands["evaluated on the CPU"] = ["eval", run, "--split", "validation", *cpu]
    values |= {name: _softseg(command) for name, command in commands.items()}
    epochs = len(read_history(run))
    passed = all(result["status"] == 0 for name, result in values.items() if name != "interrupted")
    passed = passed and values["interrupted"]["status"] == INTERRUPTED
    return Outcome({**values, "epochs": epochs}, passed)


def ablations(setup: Setup) -> Outcome:
    """Two candidates of an ablation with two jobs, and with as many as softseg chooses."""
    values = {}
    for jobs in ("2", "auto") if setup.gpu else ("auto",):
        command = [
            "ablate", CONFIGS / "phantom_ablation.yaml", "--out", setup.folder / f"jobs-{jobs}",
            "--jobs", jobs, "--splits", "1", "--candidates", "Soft-ReLU-Wing,Hard-Sig-Dice",
            *_changes(setup), "--set", "trainer.max_epochs=2",
            "--set", f"trainer.device={setup.device.split(':')[0]}",
        ]  # fmt: skip
        values[jobs] = _softseg(command)
    return Outcome(values, all(result["status"] == 0 for result in values.values()))


def _changes(setup: Setup) -> list[str]:
    """The assignments of a short training on the phantom."""
    changes = [f"dataset.root={setup.root}", f"dataset.cache={setup.folder / 'cache'}"]
    changes += [] if setup.gpu else list(setup.changes)
    return [word for change in changes for word in ("--set", change)]


def _softseg(command: list[Any]) -> dict[str, Any]:
    """Run a command; return its exit status, its seconds, the jobs it chose, and its message.

    The message is that of a command that failed.
    """
    start = time.perf_counter()
    words = [*SOFTSEG, *map(str, command)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
    result = {"status": done.returncode, "seconds": round(time.perf_counter() - start, 1)}
    for line in done.stdout.splitlines():
        if line.startswith(JOBS):
            result["chosen"] = line.removeprefix(JOBS)
    return result | ({"message": done.stderr[-600:]} if done.returncode else {})


def _interrupt(command: list[Any]) -> dict[str, Any]:
    """Start a training and interrupt it (Ctrl-C) after its first epoch."""
    start, words = time.perf_counter(), [*SOFTSEG, *map(str, command)]
    with subprocess.Popen(words, cwd=ROOT, stdout=PIPE, stderr=STDOUT, text=True) as child:
        assert child.stdout is not None
        lines = list(takewhile(lambda line: not line.startswith("epoch "), child.stdout))
        child.send_signal(signal.SIGINT)
        lines += child.communicate(timeout=LIMIT)[0].splitlines(keepends=True)
    result = {"status": child.returncode, "seconds": round(time.perf_counter() - start, 1)}
    return result if child.returncode == INTERRUPTED else {**result, "output": "".join(lines[-9:])}
