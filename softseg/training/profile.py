"""Where the time of an epoch goes: `softseg train --profile`."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from softseg.training.state import Record, State

PHASES = ("gathering", "augmentation", "network", "head and loss", "backward", "update")
WARM_UP, STEPS = 5, 20


def phase(name: str) -> record_function:
    """Names a part of a step in a profile; costs next to nothing without one."""
    return record_function(f"softseg: {name}")


class Profile:
    """Watches a training: records some steps, writes their trace, and tells where time went."""

    def __init__(self, folder: Path, device: torch.device, steps: int = STEPS) -> None:
        self.trace = folder / "profile" / "trace.json.gz"
        self.phases: dict[str, float] = {}  # phase -> seconds a step
        self._on_device = device.type == "cuda"
        self._steps, self._seen = steps, 0
        self._left: list[float] = []  # seconds of each epoch beside training and validation
        self._told = time.perf_counter()
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._on_device else [])]
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it tells each start and stop otherwise
        plan = schedule(wait=0, warmup=WARM_UP, active=steps, repeat=1)
        self._profiler = profile(activities=kinds, schedule=plan, on_trace_ready=self._ready)
        self._profiler.start()

    def step(self, slices: int) -> None:  # noqa: ARG002
        """Tell the profiler that a step is done."""
        self._seen += 1
        if self._seen <= WARM_UP + self._steps:
            self._profiler.step()

    def epoch(self, state: State, record: Record, best: bool, preview: Tensor) -> None:  # noqa: ARG002
        """Note what an epoch took beside training and validation: checkpoints and the log."""
        now = time.perf_counter()
        self._left.append(now - self._told - record["train_seconds"] - record["val_seconds"])
        self._told = now

    def show(self, history: list[Record], console: Console) -> None:
        """Print where an epoch's time went, and where the trace is."""
        if not self.phases:
            self._profiler.stop()
            console.print(f"profile: fewer than {WARM_UP + self._steps} steps; train more epochs")
            return
        train, validation = (
            statistics.median(record[key] for record in history)
            for key in ("train_seconds", "val_seconds")
        )
        rest = statistics.median(self._left)
        table = Table("of an epoch", "seconds", "share", title="where the time went (medians)")
        whole = train + validation + rest
        for name, seconds in {
            **self._training(train),
            "validation": validation,
            "checkpoints and log": rest,
        }.items():
            table.add_row(name, f"{seconds:.3f}", f"{seconds / whole:.1%}")
        console.print(table)
        console.print(f"{self.trace}: open it in chrome://tracing or ui.perfetto.dev", markup=False)

    def _training(self, seconds: float) -> dict[str, float]:
        """The training part of an epoch, divided as the profiled steps were."""
        step = sum(self.phases.values())
        shares = {name: taken / step for name, taken in self.phases.items()}
        return {f"training: {name}": seconds * share for name, share in shares.items()}

    def _ready(self, profiler: profile) -> None:
        self.trace.parent.mkdir(exist_ok=True)
        profiler.export_chrome_trace(str(self.trace))
        events = {event.key: event for event in profiler.key_averages()}
        for name in PHASES:
            if event := events.get(f"softseg: {name}"):
                taken = event.device_time_total if self._on_device else event.cpu_time_total
                self.phases[name] = taken / 1e6 / self._steps
