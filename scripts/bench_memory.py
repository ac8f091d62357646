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

# of a 3D network the size of the patches, which would be smaller with one subject
CHANGES = {2: (), 3: ("patches.size=[48, 64, 48]",)}
SAMPLES, TARGET = {2: 256, 3: 16}, 1.5  # slices or volumes by axes of the network
WAYS = {"empty cache": "cache", "filled cache": "cache", "no cache": "null"}
SHIPPED = ("empty cache", "filled cache")  # of a first and a second run


def memory_against_the_stack(_: int, axes: int = 2) -> Row:
    """(Peak of training - peak of its bare steps) / size of the slices, the larger of two ways.

    Training reads and preprocesses its scans, or reads them from the cache, trains and
    validates. Measured once: how much freed memory returns to the system varies by up to a fifth
    of the slices.
    """
    samples = {2: "slices", 3: "volumes"}[axes]
    row = row_of(f"(peak of training - peak of bare steps) / {samples}, CPU", f"<= {TARGET}")
    peaks = _measured(axes)
    size = peaks.pop("samples")
    shares = {way: (peaks[way] - peaks["bare steps"]) / size for way in WAYS}
    value = max(shares[way] for way in SHIPPED)
    parts = {"shares": shares, "peak_bytes": peaks, "store_bytes": size}
    # a phantom has few slices: libraries use more memory than they do
    met = value <= TARGET if real_data() else None
    return row | {"value": value, "met": met, "parts": parts}


def volumes_memory_against_the_stack(rounds: int) -> Row:
    """Return the row of a 3D network."""
    return memory_against_the_stack(rounds, axes=3)


def _measured(axes: int) -> dict[str, int]:
    """Return the peak bytes of each way and of the bare steps, and the size of the samples."""
    with tempfile.TemporaryDirectory() as folder:
        peaks = {"bare steps": in_child(bare_peak, folder, axes)}
        for way, cache in WAYS.items():
            location = cache if cache == "null" else f"{folder}/{cache}"
            peaks[way], peaks["samples"] = in_child(training_peak, folder, location, axes)
    return peaks


def training_peak(
    folder: str, cache: str, axes: int = 2, samples: int | None = None
) -> tuple[int, int]:
    """Return the peak bytes of this process after a short epoch, and the size of its samples."""
    config = cpu_training(Path(folder), f"dataset.cache={cache}", *CHANGES[axes], axes=axes)
    state, task = start_training(config, prepare_data(config, Console(quiet=True)))
    train_epoch(state, limit_slices(task, samples or SAMPLES[axes]), Silent())
    validate(state, task)
    return peak_memory_bytes(task.device)["host"], task.stack.n_bytes


def bare_peak(folder: str, axes: int = 2, samples: int | None = None) -> int:
    """Return the peak bytes after as many steps of the same network on a single batch."""
    config = cpu_training(Path(folder), *CHANGES[axes], axes=axes)
    state, task = start_training(config, _one_subject(config))
    size = config.trainer.batch_size
    rows = torch.arange(size) % len(task.rows)
    batch = single_batch(task, task.rows[rows])
    for _ in range((samples or SAMPLES[axes]) // size):
        train_step(state, task, batch)
    return peak_memory_bytes(task.device)["host"]


def _one_subject(config: Experiment) -> PreparedData:
    console = Console(quiet=True)
    [subject, *_] = list_subjects(config, console)
    names = (subject.name,)
    return PreparedData(Sets(names, names, names), load_store(config, [subject], console))
