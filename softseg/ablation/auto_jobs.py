"""How many runs `ablate --jobs auto` trains at a time: from what a training of each kind uses."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from rich.console import Console
from torch.profiler import ProfilerActivity, profile

from softseg.ablation.jobs import START_METHOD, die_with_parent
from softseg.ablation.plan import PlannedRun
from softseg.core.device import free_bytes, synchronize
from softseg.core.errors import UserError
from softseg.core.limits import available_cores, available_memory_bytes
from softseg.core.memory import GIB, private_peak_bytes
from softseg.preprocess.store import read_shared_store
from softseg.runs.build import resolve_hardware
from softseg.runs.data import PreparedData
from softseg.runs.patch_size import resolve_patches
from softseg.training.loop import train_epoch, validate
from softseg.training.profile import device_seconds
from softseg.training.task import Observer, Record, State, Task, build_task, new_state

_MEMORY_SHARE = 0.8  # of free memory: evaluation needs more than the measured steps
_WORTHWHILE = 0.15  # gain of one more run on a GPU, in units of the first one's speed
_CUDA_CONTEXT = 0.6 * GIB  # of a GPU's memory, which each process takes before any tensor
_STEPS = 5  # of a training that is measured on a GPU; a CPU's use is known after one
_KINDS = {
    "dataset",
    "model",
    "patches",
    "preprocess",
    "slices",
    "trainer",
}  # sections that decide the cost


@dataclass(frozen=True)
class Machine:
    """What the runs of an ablation can use."""

    cores: int
    memory: float  # free, in bytes
    gpus: int = 1  # CUDA devices that the runs are distributed over


@dataclass(frozen=True)
class Usage:
    """What one training uses."""

    device: str  # cpu, cuda or mps
    threads: int
    memory: float  # bytes of the host, without the slices, which all runs share
    gpu_memory: float = 0.0  # bytes
    gpu_free: float = 0.0  # bytes, before the training
    busy: float = 1.0  # share of the time in which the GPU computes


@dataclass(frozen=True)
class Jobs:
    """A number of parallel runs, and how it was obtained."""

    count: int
    reason: str


def choose_jobs(machine: Machine, usage: Usage, runs: int) -> Jobs:
    """Return how many of `runs` runs to train at a time: as many as all parts of a machine allow.

    On a CPU the threads of all runs share the cores. On a GPU, runs are added until it would be
    busy all the time; each needs a core, which launches its operations.
    """
    limits = {
        f"memory ({machine.memory / GIB:.1f} GiB free, {usage.memory / GIB:.1f} GiB a run)": (
            _fitting(machine.memory, usage.memory)
        )
    }
    if usage.device == "cuda":
        each = f"each of {machine.gpus} GPUs" if machine.gpus > 1 else "the GPU"
        free, needed = usage.gpu_free / GIB, usage.gpu_memory / GIB
        limits |= {
            f"{each} (busy {usage.busy:.0%} of the time with one run)": (
                machine.gpus * math.ceil(1 / max(usage.busy, 0.01) - _WORTHWHILE)
            ),
            f"memory of {each} ({free:.1f} GiB free, {needed:.1f} GiB a run)": (
                machine.gpus * _fitting(usage.gpu_free, usage.gpu_memory)
            ),
            f"cores ({machine.cores})": machine.cores,
        }
    elif usage.device == "cpu":
        threads = f"{usage.threads} thread{'s' * (usage.threads > 1)} a run"
        limits[f"cores ({machine.cores}, {threads})"] = machine.cores // usage.threads
    else:
        limits["an Apple GPU"] = 1
    count = max(1, min(runs, *limits.values()))
    allowed = [f"{max(1, limit)} by {text}" for text, limit in limits.items()]
    return Jobs(count, f"at most {', '.join(allowed)}; {runs} to do")


def _fitting(free: float, needed: float) -> int:
    """Return how many trainings fit into free memory."""
    return int(_MEMORY_SHARE * free / max(needed, 1.0))


def auto_jobs(
    todo: Sequence[PlannedRun], stacks: Mapping[int, Path], gpus: Sequence[str], console: Console
) -> int:
    """Measure one run of each kind, print how many runs to train at a time and why; return it.

    `gpus` are the CUDA devices that the runs are distributed over. Raises UserError if a training
    cannot be measured.
    """
    kinds = {
        planned.experiment.model_dump_json(include=_KINDS): planned for planned in reversed(todo)
    }
    usages = [
        _measure_in_process(planned, stacks[planned.number], gpus[0] if gpus else None)
        for planned in kinds.values()
    ]
    largest = replace(
        usages[0],
        threads=max(usage.threads for usage in usages),
        memory=max(usage.memory for usage in usages),
        gpu_memory=max(usage.gpu_memory for usage in usages),
        busy=sum(usage.busy for usage in usages) / len(usages),
    )
    machine = Machine(available_cores(), available_memory_bytes(), max(1, len(gpus)))
    jobs = choose_jobs(machine, largest, len(todo))
    text = f"--jobs auto: {jobs.count} at a time ({jobs.reason})"
    console.print(text, highlight=False, markup=False)
    return jobs.count


def _measure_in_process(planned: PlannedRun, stack: Path, gpu: str | None) -> Usage:
    """Measure a run in a process of its own, so that its memory is all that a run takes."""
    context = multiprocessing.get_context(START_METHOD)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(  # type: ignore[attr-defined]
        target=_send_usage, args=(planned, stack, sender, gpu)
    )
    process.start()
    sender.close()
    try:
        result: Usage | str = receiver.recv()
    except EOFError:
        result = "its process ended without a result, possibly out of memory"
    finally:
        process.kill()  # it has nothing more to do
    process.join()
    if isinstance(result, str):
        raise UserError(
            f"--jobs auto: {planned.name} cannot be measured ({result}); fix the cause, or give a "
            "number of jobs"
        )
    return result


def _send_usage(planned: PlannedRun, stack: Path, result: Connection, gpu: str | None) -> None:
    """The main function of the process that measures a run: send its usage, or why it failed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent as well
    die_with_parent()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    try:
        result.send(measure(planned, stack))
    except Exception as error:  # reported by the parent
        result.send(str(error).strip().partition("\n")[0] or type(error).__name__)


def measure(planned: PlannedRun, stack: Path) -> Usage:
    """Train a few steps of a run and validate a volume; nothing is written."""
    experiment = resolve_hardware(planned.experiment)
    device = torch.device(experiment.trainer.device)
    on_gpu = device.type == "cuda"
    free = free_bytes(device) + _CUDA_CONTEXT if on_gpu else 0.0
    prepared = PreparedData(planned.sets, read_shared_store(stack))
    experiment = resolve_patches(experiment, prepared)
    task = build_task(experiment, prepared)
    count = task.trainer.batch_size * (_STEPS if on_gpu else 1)
    task = replace(
        task,
        rows=task.rows[:count],
        foreground=task.foreground[:count],
        validation=task.validation[:1],
    )
    state = new_state(experiment, device)
    train_epoch(state, task, _Silent())  # compiles, and loads kernels
    validate(state, task)
    return Usage(
        device=device.type,
        threads=experiment.trainer.threads or 1,
        memory=private_peak_bytes(),
        gpu_memory=torch.cuda.max_memory_reserved(device) + _CUDA_CONTEXT if on_gpu else 0.0,
        gpu_free=free,
        busy=_busy_share(state, task) if on_gpu else 1.0,
    )


def _busy_share(state: State, task: Task) -> float:
    """Return the share of the time of training steps in which the GPU computes."""
    start = time.perf_counter()
    train_epoch(state, task, _Silent())
    synchronize(task.device)
    seconds = time.perf_counter() - start
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # otherwise it logs each start and stop
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        train_epoch(state, task, _Silent())
        synchronize(task.device)
    _, busy = device_seconds(profiler.events() or [])
    if busy == 0:
        raise UserError("torch's profiler sees nothing of what the GPU does")
    return min(1.0, busy / seconds)


class _Silent(Observer):
    """An observer that records nothing."""

    def step(self, slices: int) -> None:
        """Do nothing."""

    def epoch(self, state: State, record: Record, best: bool, preview: torch.Tensor) -> None:
        """Do nothing."""
