"""Rows of `scripts/bench` that need a CUDA GPU: one and several runs of the paper."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from bench_parts import CONFIGS, Row, Silent, bare_steps, medians, phantom, row_of, start_training
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.device import synchronize
from softseg.runs.build import resolve_hardware
from softseg.runs.data import prepare_data
from softseg.training.batches import single_batch
from softseg.training.loop import train_epoch, train_step
from softseg.training.profile import Profile
from softseg.training.task import State, Task

NO_GPU = {"not measured": "there is no CUDA GPU"}
RATIO = 1.10  # at most, of an epoch to bare steps
READY = "ready\n"
TRAININGS, EPOCHS, SLICES = 200, 200, 300  # of the paper's SCGM ablation: 5 candidates x 40 splits


@dataclass(frozen=True)
class Setting:
    """What is trained: the paper's network on a phantom of its data."""

    device: str = "cuda"
    changes: tuple[str, ...] = ("trainer.precision=bf16",)
    at_once: tuple[int, ...] = (1, 2, 4, 8)
    seconds: float = 15.0  # duration of parallel runs


def epoch_on_a_gpu(rounds: int, setting: Setting = Setting()) -> Row:
    """Training part of an epoch / bare steps on a GPU, and the share of its peak that is used."""
    row = row_of(
        "training part of an epoch / bare steps, CUDA, 64 filters, 128 x 128, bf16", "<= 1.10"
    )
    if setting.device == "cuda" and not torch.cuda.is_available():
        return row | {"parts": NO_GPU}
    with tempfile.TemporaryDirectory() as folder:
        ratio, parts = epoch_over_bare_steps(rounds, *paper_training(Path(folder), setting))
    return row | {"value": round(ratio, 4), "met": ratio <= RATIO, "parts": parts}


def epoch_over_bare_steps(rounds: int, state: State, task: Task) -> tuple[float, dict[str, object]]:
    """Return training part of an epoch / the same steps on loaded batches, and the parts."""
    works = {
        "epoch": lambda: run_and_wait(task, lambda: train_epoch(state, task, Silent())),
        "bare steps": lambda: run_and_wait(task, lambda: bare_steps(state, task)),
    }
    seconds = medians(rounds, works)
    parts = {"seconds": seconds, "rounds": rounds, **achieved(state, task, seconds["epoch"])}
    return seconds["epoch"] / seconds["bare steps"], parts


def paper_training(folder: Path, setting: Setting) -> tuple[State, Task]:
    """Prepare the paper's SCGM network and the slices of the phantom on a device."""
    config = paper_experiment(folder, setting)
    return start_training(config, prepare_data(config, Console(quiet=True)))


def paper_experiment(folder: Path, setting: Setting) -> Experiment:
    """Return the paper's SCGM experiment on the phantom, resolved for a device."""
    fixed = [f"dataset.root={phantom(folder)}", f"dataset.cache={folder / 'cache'}"]
    fixed += [f"trainer.device={setting.device}", *setting.changes]
    return resolve_hardware(load_config(CONFIGS / "scgm_softseg.yaml", Experiment, fixed))


def run_and_wait(task: Task, work: Callable[[], object]) -> None:
    """Do some work and wait until the device has finished it."""
    work()
    synchronize(task.device)


def achieved(state: State, task: Task, epoch_seconds: float) -> dict[str, object]:
    """Return the operations of a step, their rate, that of a large product, and hours.

    The hours are those of an ablation of 200 runs, from the number of slices alone.
    """
    batch = single_batch(task, task.rows[: task.trainer.batch_size])
    with FlopCounterMode(display=False) as counter:
        train_step(state, task, batch)
    steps = len(task.rows) / task.trainer.batch_size
    rate, peak = counter.get_total_flops() * steps / epoch_seconds, product_rate(task.device)
    hours = TRAININGS * EPOCHS * (SLICES / len(task.rows)) * epoch_seconds / 3600
    return {
        "device": torch.cuda.get_device_name() if task.device.type == "cuda" else "CPU",
        "operations a step": counter.get_total_flops(),
        "TFLOP/s": rate / 1e12,
        "TFLOP/s of a large bf16 product": peak / 1e12,
        "share of that": rate / peak,
        "hours of 200 trainings of 200 epochs, without validation": hours,
    }


def product_rate(device: torch.device, size: int | None = None) -> float:
    """Return the floating-point operations per second of a large bf16 matrix product."""
    size = size or (8192 if device.type == "cuda" else 512)
    matrix = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    for repeats in (3, 20):  # the first is a warm-up
        synchronize(device)
        start = time.perf_counter()
        for _ in range(repeats):
            matrix @ matrix
        synchronize(device)
    return 2 * size**3 * repeats / (time.perf_counter() - start)


def trainings_at_once(_: int, setting: Setting = Setting()) -> Row:
    """Gain of several processes on one GPU / the gain that the idle time of one allows."""
    row = row_of("several trainings on one GPU: best gain / what one leaves idle", ">= 0.70")
    if setting.device == "cuda" and not torch.cuda.is_available():
        return row | {"parts": NO_GPU}
    with tempfile.TemporaryDirectory() as folder:
        phantom(Path(folder))
        epochs = {n: epochs_a_second(n, Path(folder), setting) for n in setting.at_once}
        busy = busy_share(Path(folder), setting)
    gains = {n: rate / epochs[1] for n, rate in epochs.items()}
    best = max(gains.values()) * busy  # of 1 / busy
    parts = {"gains": gains, "busy share of one": busy, "epochs a second": epochs}
    return row | {"value": round(best, 4), "met": best >= 0.7, "parts": parts}


def epochs_a_second(processes: int, folder: Path, setting: Setting) -> float:
    """Return the epochs per second of parallel runs, in total."""
    arguments = [str(folder), str(setting.seconds), setting.device, *setting.changes]
    command = [sys.executable, str(Path(__file__)), *arguments]
    pipe = subprocess.PIPE
    children = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(processes)
    ]
    for child in children:  # all have prepared their data and are warm before any is measured
        if child.stdout.readline() != READY:
            raise RuntimeError(f"one of {processes} trainings ended with status {child.wait()}")
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    return sum(float(child.communicate()[0]) for child in children)


def busy_share(folder: Path, setting: Setting) -> float:
    """Return the share of a step during which the device is busy, from a profile."""
    state, task = paper_training(folder, setting)
    profile = Profile(folder, task.device, steps=10)
    while not profile.phases:
        train_epoch(state, task, profile)
    seconds = medians(
        1, {"epoch": lambda: run_and_wait(task, lambda: train_epoch(state, task, Silent()))}
    )
    steps = len(task.rows) / task.trainer.batch_size
    busy = sum(profile.phases.values()) if profile.busy is None else profile.busy
    return min(1.0, busy * steps / seconds["epoch"])


def _main() -> None:
    """Run one of several parallel runs; print its epochs per second."""
    folder, seconds, device, *changes = sys.argv[1:]
    state, task = paper_training(Path(folder), Setting(device, tuple(changes)))
    run_and_wait(task, lambda: train_epoch(state, task, Silent()))
    print(READY, end="", flush=True)
    sys.stdin.readline()
    start, epochs = time.perf_counter(), 0
    while time.perf_counter() - start < float(seconds):
        run_and_wait(task, lambda: train_epoch(state, task, Silent()))
        epochs += 1
    print(epochs / (time.perf_counter() - start))


if __name__ == "__main__":
    _main()
