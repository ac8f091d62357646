"""A row of `scripts/bench`: the gain of `softseg ablate --jobs 2` over `--jobs 1`."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from softseg.ablation.design import load_design
from softseg.ablation.folder import write_shared_stacks
from softseg.ablation.plan import make_plan
from softseg.config.experiment import Experiment
from softseg.data import Sets
from softseg.preprocess.store import read_shared_store
from softseg.runs.build import resolve_hardware
from softseg.runs.data import PreparedData
from softseg.training.batches import single_batch
from softseg.training.loop import train_step
from softseg.training.task import build_task, new_state

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "configs" / "phantom_ablation.yaml"
EPOCHS, SPLITS, SECONDS = 12, 1, 8.0
CANDIDATES = ("Soft-ReLU-Wing", "Hard-Sig-Dice")
TARGET = 0.9


def two_jobs_against_one() -> dict[str, Any]:
    """Runs per hour with two jobs / with one, as a share of the gain of two parallel loops."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        softseg(folder, "data", "phantom", "data/phantom")
        ablate(folder, "warm", 1, 1, epochs=1)  # fills the cache
        runs = {way: seconds_of_runs(folder, *way) for way in ((1, 1), (2, 1), (1, 2))}
        bare = {way: steps_per_second(folder, *way) for way in runs}
    gains = {threads: runs[1, threads] / runs[2, 1] for threads in (1, 2)}
    ceilings = {threads: bare[2, 1] / bare[1, threads] for threads in (1, 2)}
    share = min(gains[threads] / ceilings[threads] for threads in (1, 2))
    return {
        "name": "ablation: gain of --jobs 2 / gain of two bare step loops at once, CPU, 8 filters",
        "value": round(share, 4),
        "target": f">= {TARGET}",
        "met": share >= TARGET,
        "parts": {
            "runs": len(CANDIDATES) * SPLITS,
            **{f"gain over --jobs 1, {n} thread(s)": gains[n] for n in gains},
            **{f"ceiling over one loop, {n} thread(s)": ceilings[n] for n in ceilings},
            "run_seconds": {f"jobs {j}, threads {n}": runs[j, n] for j, n in runs},
            "bare_steps_per_second": {f"loops {j}, threads {n}": bare[j, n] for j, n in bare},
        },
    }


def seconds_of_runs(folder: Path, jobs: int, threads: int) -> float:
    """Return the seconds of the runs: the command minus a second call, which only reports."""
    out = f"jobs-{jobs}-threads-{threads}"
    return ablate(folder, out, jobs, threads) - ablate(folder, out, jobs, threads)


def softseg(folder: Path, *arguments: str) -> float:
    """Run the command; return its duration in seconds."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "softseg", *arguments]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def ablate(folder: Path, out: str, jobs: int, threads: int, epochs: int = EPOCHS) -> float:
    sets = [f"trainer.max_epochs={epochs}", f"trainer.threads={threads}", "trainer.device=cpu"]
    options = ["--candidates", ",".join(CANDIDATES), "--splits", str(SPLITS), "--jobs", str(jobs)]
    changes = [word for change in sets for word in ("--set", change)]
    return softseg(folder, "ablate", str(CONFIG), "--out", f"runs/{out}", *options, *changes)


def steps_per_second(folder: Path, processes: int, threads: int) -> float:
    """Return the bare steps per second of the same network, in all processes together."""
    root = f"dataset.root={folder / 'data/phantom'}"
    design = load_design(CONFIG, [root, f"dataset.cache={folder / 'runs/.cache'}"])
    planned = make_plan(design, folder / "bare", Console(quiet=True))[-1]
    [stack] = write_shared_stacks([planned], folder / "stacks", Console(quiet=True)).values()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        work = (planned.experiment, planned.sets, stack, threads)
        return sum(pool.starmap(_step_for_a_while, [work] * processes, chunksize=1))


def _step_for_a_while(experiment: Experiment, sets: Sets, stack: Path, threads: int) -> float:
    trainer = experiment.trainer.model_copy(update={"threads": threads, "device": "cpu"})
    experiment = resolve_hardware(experiment.model_copy(update={"trainer": trainer}))
    task = build_task(experiment, PreparedData(sets, read_shared_store(stack)))
    state = new_state(experiment, torch.device("cpu"))
    rows = task.rows[: trainer.batch_size]
    batch = single_batch(task, rows)
    for _ in range(5):
        train_step(state, task, batch)
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        train_step(state, task, batch)
        steps += 1
    return steps / (time.perf_counter() - start)
