"""Where the time of an epoch goes: the phases of a step, and the network alone."""

from __future__ import annotations

import copy
import math
import os
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor
from torch._C._autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, schedule

from softseg.core.device import synchronize
from softseg.render.terminal_table import TerminalTable
from softseg.runs.build import compile_network
from softseg.training.batches import single_batch
from softseg.training.distributed.processes import SINGLE
from softseg.training.loop import train_step
from softseg.training.task import Record, State, Task, initial_state

PHASES = ("gathering", "augmentation", "network", "head and loss", "backward", "update")
WARM_UP, STEPS = 5, 20
_CALLS = ("cu", "hip")  # what the names of CUDA's and ROCm's own functions begin with


class Profile:
    """Observes training: records a trace of some steps and prints where the time goes."""

    def __init__(self, folder: Path, device: torch.device, steps: int = STEPS) -> None:
        self.trace = folder / "profile" / "trace.json.gz"
        self.phases: dict[str, float] = {}  # phase -> seconds per step
        self.busy: float | None = None  # seconds per step in which a GPU computes or copies
        self._on_device = device.type == "cuda"
        self._steps, self._steps_done = steps, 0
        self._other_seconds: list[float] = []  # of each epoch, outside training and validation
        self._last_epoch_end = time.perf_counter()
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._on_device else [])]
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # otherwise it logs each start and stop
        plan = schedule(wait=0, warmup=WARM_UP, active=steps, repeat=1)
        self._profiler = profile(activities=kinds, schedule=plan, on_trace_ready=self._read_trace)
        self._profiler.start()

    def step(self, slices: int) -> None:  # noqa: ARG002
        """Advance the profiler by one step."""
        self._steps_done += 1
        if self._steps_done <= WARM_UP + self._steps:
            self._profiler.step()

    def epoch(self, state: State, record: Record, best: bool, preview: Tensor) -> None:  # noqa: ARG002
        """Note how long checkpoints and logging took."""
        now = time.perf_counter()
        inside = record["train_seconds"] + record["val_seconds"]
        self._other_seconds.append(now - self._last_epoch_end - inside)
        self._last_epoch_end = now

    def print_result(self, history: list[Record], bare_seconds: float, console: Console) -> None:
        """Print where an epoch's time went, and the path of the trace.

        `bare_seconds`: what the steps of an epoch take on a batch that is on the device already.
        """
        if not self.phases:
            self._profiler.stop()
            console.print(f"profile: fewer than {WARM_UP + self._steps} steps; train more epochs")
            return
        training = statistics.median(record["train_seconds"] for record in history)
        validation = statistics.median(record["val_seconds"] for record in history)
        other = statistics.median(self._other_seconds)
        step_seconds = sum(self.phases.values())
        rows = {f"training: {n}": training * s / step_seconds for n, s in self.phases.items()}
        rows |= {"validation": validation, "checkpoints and log": other}
        total = training + validation + other
        cells = tuple((n, f"{s:.3f}", f"{s / total:.1%}") for n, s in rows.items())
        header = ("of an epoch", "seconds", "share")
        console.print(TerminalTable("where the time went (medians)", header, cells))
        if self.busy is not None:
            steps_an_epoch = self._steps_done / len(self._other_seconds)
            share = self.busy * steps_an_epoch / training
            console.print(f"the GPU is busy for {share:.0%} of the training part", highlight=False)
        elif self._on_device:
            console.print("the system does not let torch trace the GPU: these are the host's times")
        console.print(
            f"training part of an epoch {training:.2f} s, the bare network's steps "
            f"{bare_seconds:.2f} s: {training / bare_seconds:.2f} times",
            highlight=False,
        )
        console.print(f"{self.trace}: open it in chrome://tracing or ui.perfetto.dev", markup=False)

    def _read_trace(self, profiler: profile) -> None:
        """Write the trace and read the seconds of each phase from it."""
        self.trace.parent.mkdir(exist_ok=True)
        profiler.export_chrome_trace(str(self.trace))
        events = profiler.events() or []
        seconds = host_seconds(events)
        if self._on_device:
            of_device, busy = device_seconds(events)
            if busy > 0:  # else this system does not let torch (CUPTI) trace the GPU
                seconds, self.busy = of_device, busy / self._steps
        self.phases = {name: total / self._steps for name, total in seconds.items()}


def host_seconds(events: Iterable[FunctionEvent]) -> dict[str, float]:
    """Return the seconds that the host spent in each phase of a profile's steps."""
    seconds: dict[str, float] = {}
    for name, start, end in _phase_ranges(events):
        seconds[name] = seconds.get(name, 0.0) + (end - start) / 1e6
    return seconds


def device_seconds(events: Sequence[FunctionEvent]) -> tuple[dict[str, float], float]:
    """Return the seconds of a GPU's operations by phase, and how long it is busy with any of them.

    An operation belongs to the phase during which the host launched it. (The sums of torch's
    profiler leave out the backward pass, whose operations another thread launches:
    pytorch/pytorch#144778. Its GPU annotations of a phase include the time that the GPU idles.)
    """
    ranges = _phase_ranges(events)
    # an operation has the id of the CUDA call that launched it
    calls = [e for e in events if e.device_type == DeviceType.CPU and e.name.startswith(_CALLS)]
    launched = {call.id: call.time_range.start for call in calls}
    on_gpu = [event for event in events if event.device_type == DeviceType.CUDA]
    operations = [event for event in on_gpu if not event.is_user_annotation]
    seconds = dict.fromkeys((name for name, *_ in ranges), 0.0)
    busy, until = 0.0, -math.inf
    for operation in sorted(operations, key=lambda event: event.time_range.start):
        start, end = operation.time_range.start, operation.time_range.end
        busy += max(0.0, end - max(start, until)) / 1e6
        until = max(until, end)
        if name := _phase_at(ranges, launched.get(operation.id, -math.inf)):
            seconds[name] += (end - start) / 1e6
    return seconds, busy


def _phase_ranges(events: Iterable[FunctionEvent]) -> list[tuple[str, float, float]]:
    """Return name, start and end in microseconds of each phase that the host went through."""
    names = {f"softseg: {name}": name for name in PHASES}
    return [
        (names[event.name], event.time_range.start, event.time_range.end)
        for event in events
        if event.device_type == DeviceType.CPU and event.name in names
    ]


def _phase_at(ranges: Iterable[tuple[str, float, float]], time: float) -> str | None:
    """Return the phase of the host at a time; None between phases.

    A thread may gather the next batch on the host meanwhile, which launches nothing.
    """
    names = [name for name, start, end in ranges if start <= time <= end]
    return next((name for name in names if name != "gathering"), names[0] if names else None)


def bare_step_seconds(state: State, task: Task, repeats: int = 5, warm_up: int = 2) -> float:
    """Return the median time of forward, backward and update on one batch already on the device.

    A copy of the network is trained, so that measuring leaves the run as it is. One of several
    processes measures its own part of a batch, without the others.
    """
    model = copy.deepcopy(state.model)
    compile_network(model, task.trainer)  # a copy is not compiled
    twin = initial_state(model, copy.deepcopy(state.head), task.trainer)
    twin.model.train()
    twin.head.train()
    size = math.ceil(task.trainer.batch_size / task.processes.world_size)
    trainer = task.trainer.model_copy(update={"batch_size": size})
    alone = replace(task, processes=SINGLE, trainer=trainer)
    batch = single_batch(alone, task.rows[:size])
    times = []
    for _ in range(warm_up + repeats):
        synchronize(task.device)
        start = time.perf_counter()
        train_step(twin, alone, batch)
        synchronize(task.device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[warm_up:])


def steps_per_epoch(task: Task) -> float:
    """Return how many full batches an epoch amounts to (the last one may be a part of a batch)."""
    return task.epoch_size / task.trainer.batch_size
