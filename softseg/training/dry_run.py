"""What a training would need: memory, and time measured on a few steps; it trains nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from softseg.config.experiment import Experiment
from softseg.core.console import print_topics, whole_seconds
from softseg.core.memory import GIB, memory_errors, peak_memory_bytes
from softseg.core.ranks import SINGLE_PROCESS, Ranks
from softseg.runs.folder import Run
from softseg.training.distributed.processes import processes_of
from softseg.training.profile import steps_per_epoch
from softseg.training.step_memory import batch_shape, training_bytes
from softseg.training.step_times import STEPS, measure_times
from softseg.training.train import (
    MEMORY,
    TrainingStart,
    already_trained,
    broadcast_start,
    prepare_other_rank,
    prepare_start,
    print_start,
)


@memory_errors(*MEMORY)
def dry_run(
    experiment: Experiment,
    folder: Path,
    console: Console,
    *,
    resume: bool = False,
    overwrite: bool = False,
    extend: bool = False,
    ranks: Ranks = SINGLE_PROCESS,
) -> dict[str, Any] | None:
    """Print what `train` would train with the same arguments, and what memory and time it needs.

    It takes a few steps with weights that are discarded, and writes nothing except to the cache of
    preprocessed slices (`dataset.cache`). Every process of a run takes part.

    Returns the same as a JSON-compatible mapping; None for a process other than the first.
    Raises UserError where `train` would, and if memory runs out in these steps.
    """
    run, processes = Run(folder), processes_of(ranks)
    if not processes.first:
        state, task, done = prepare_other_rank(experiment, run, resume, None, processes)
        if not done:
            measure_times(state, task)
        return None
    start = prepare_start(
        experiment, run, console, processes, resume=resume, overwrite=overwrite, extend=extend
    )
    broadcast_start(start)
    result = _describe(run, start)
    if start.done:
        console.print(already_trained(run, start), markup=False)
        return {**result, "epochs_left": 0, "seconds": None}
    result["warnings"] = print_start(console, run, start)
    times = measure_times(start.state, start.task)
    all_epochs = times.epoch * result["epochs_left"]
    result["seconds"] = {"step": times.step, "epoch": times.epoch, "all_epochs": all_epochs}
    peaks = peak_memory_bytes(start.task.device)
    result["memory_bytes"] |= {f"peak_{place}": n_bytes for place, n_bytes in peaks.items()}
    _print(console, result, start)
    return result


def _describe(run: Run, start: TrainingStart) -> dict[str, Any]:
    """What would be trained, and the memory that can be computed."""
    experiment, task, store = start.experiment, start.task, start.prepared.store
    trainer, sets, processes = experiment.trainer, start.prepared.sets, task.processes.world_size
    members = {"training": sets.train, "validation": sets.validation, "test": sets.test}
    kind = "volumes" if store.holds_volumes else "slices"
    batch = batch_shape(experiment, store, math.ceil(trainer.batch_size / processes))
    return {
        "name": experiment.name,
        "folder": str(run.folder),
        "device": str(trainer.device),
        "threads": trainer.threads,
        "precision": trainer.precision,
        "processes": processes,
        "data": {
            name: {"subjects": len(names), kind: len(store.rows(names))}
            for name, names in members.items()
        },
        "pixels": list(batch[2:]),
        "parameters": sum(p.numel() for p in start.state.model.parameters()),
        "epochs_done": start.state.epoch,
        "epochs_left": trainer.max_epochs - start.state.epoch,
        "memory_bytes": {kind: store.n_bytes, "training": training_bytes(experiment, batch)},
    }


def _print(console: Console, result: Mapping[str, Any], start: TrainingStart) -> None:
    """Print memory and times."""
    kind = "volumes" if start.task.patches else "slices"
    memory, seconds, left = result["memory_bytes"], result["seconds"], result["epochs_left"]
    peaks = [f"{_size(memory['peak_host'])} of this process"]
    if "peak_device" in memory:
        peaks.append(f"{_size(memory['peak_device'])} on {result['device']}")
    steps = math.ceil(steps_per_epoch(start.task))
    cache = start.experiment.dataset.cache
    written = f" Preprocessed {kind} are in the cache {cache}." if cache else ""
    print_topics(
        console,
        [
            f"memory    {kind} {_size(memory[kind])}; training {_size(memory['training'])} "
            "(estimate: weights, gradients, moments and feature maps of a batch); measured peak "
            + ", ".join(peaks),
            f"time      {seconds['step']:.3f} s a step (median of {STEPS}); "
            f"{seconds['epoch']:.1f} s an epoch of {steps} steps, with validation; "
            f"about {whole_seconds(seconds['all_epochs'])} for the {left} epochs that are left at "
            "most, if this machine stays as free as now",
            f"dry run   nothing is trained, and {result['folder']} is not written.{written}",
        ],
    )


def _size(n_bytes: int) -> str:
    """Bytes as MiB or GiB."""
    return f"{n_bytes / GIB:.1f} GiB" if n_bytes >= GIB else f"{n_bytes / 2**20:.0f} MiB"
