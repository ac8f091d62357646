"""A row of `scripts/bench`: the memory of training beyond that of its bare steps."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from bench_child import in_child
from bench_parts import Row, Silent, cpu_training, limit_slices, real_data, row_of, start_training
from rich.console import Console

from softseg.config.experiment import Experiment
from softseg.core.memory import peak_memory_bytes
from softseg.data import Sets
from softseg.runs.data import PreparedData, list_subjects, load_store, prepare_data
from softseg.training.batches import single_batch
from softseg.training.loop import train_epoch, train_step, validate

SLICES, TARGET = 256, 1.5
WAYS = {"empty cache": "cache", "filled cache": "cache", "no cache": "null"}
SHIPPED = ("empty cache", "filled cache")  # of a first and a second run


def memory_against_the_stack(_: int) -> Row:
    """(Peak of training - peak of its bare steps) / size of the slices, the larger of two ways.

    Training reads and preprocesses its scans, or reads them from the cache, trains and
    validates. Measured once: how much freed memory returns to the system varies by up to a fifth
    of the slices.
    """
    row = row_of("(peak of training - peak of bare steps) / slices, CPU", f"<= {TARGET}")
    peaks = _measured()
    size = peaks.pop("slices")
    shares = {way: (peaks[way] - peaks["bare steps"]) / size for way in WAYS}
    value = max(shares[way] for way in SHIPPED)
    parts = {"shares": shares, "peak_bytes": peaks, "store_bytes": size}
    # a phantom has few slices: libraries use more memory than they do
    met = value <= TARGET if real_data() else None
    return row | {"value": value, "met": met, "parts": parts}


def _measured() -> dict[str, int]:
    """Return the peak bytes of each way and of the bare steps, and the size of the slices."""
    with tempfile.TemporaryDirectory() as folder:
        peaks = {"bare steps": in_child(bare_peak, folder)}
        for way, cache in WAYS.items():
            location = cache if cache == "null" else f"{folder}/{cache}"
            peaks[way], peaks["slices"] = in_child(training_peak, folder, location)
    return peaks


def training_peak(folder: str, cache: str, slices: int = SLICES) -> tuple[int, int]:
    """Return the peak bytes of this process after a short epoch, and the size of its slices."""
    config = cpu_training(Path(folder), f"dataset.cache={cache}")
    state, task = start_training(config, prepare_data(config, Console(quiet=True)))
    train_epoch(state, limit_slices(task, slices), Silent())
    validate(state, task)
    return peak_memory_bytes(task.device)["host"], task.stack.n_bytes


def bare_peak(folder: str, slices: int = SLICES) -> int:
    """Return the peak bytes after as many steps of the same network on a single batch."""
    config = cpu_training(Path(folder))
    state, task = start_training(config, _one_subject(config))
    size = config.trainer.batch_size
    rows = torch.arange(size) % len(task.rows)
    batch = single_batch(task, task.rows[rows])
    for _ in range(slices // size):
        train_step(state, task, batch)
    return peak_memory_bytes(task.device)["host"]


def _one_subject(config: Experiment) -> PreparedData:
    console = Console(quiet=True)
    [subject, *_] = list_subjects(config, console)
    names = (subject.name,)
    return PreparedData(Sets(names, names, names), load_store(config, [subject], console))
