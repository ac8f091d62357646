"""Checks of `scripts/gpu_acceptance`: how fast steps, epochs and ablations are."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from acceptance_runner import Check, Outcome
from acceptance_setup import QUIET, Setup
from bench_gpu import (
    EPOCHS,
    RATIO,
    SLICES,
    TRAININGS,
    Setting,
    epoch_over_bare_steps,
    epochs_a_second,
)
from torch import Tensor
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from softseg.core import device as hardware
from softseg.core.determinism import set_deterministic
from softseg.core.device import Precision, synchronize
from softseg.core.memory import GIB
from softseg.models.unet import upsample
from softseg.runs.folder import read_history
from softseg.training import loop
from softseg.training.batches import epoch_batches, single_batch
from softseg.training.recorder import RunRecorder
from softseg.training.task import State, Task
from softseg.training.train import train

BF16 = "trainer.precision=bf16"
NARROW = "model.filters=8"
WARM_UP = 10  # steps
AT_ONCE = (1, 2, 4, 8)
HOURS = 1.0  # at most, of the paper's trainings on an H200


@dataclass(frozen=True)
class Variant:
    """How a step is computed."""

    changes: tuple[str, ...]
    trials: bool = True  # cuDNN may try all algorithms, where softseg allows it
    foreach: bool = False  # Adam with a kernel per operation, torch's default on a GPU

    def autocast(self, device: torch.device, precision: Precision) -> AbstractContextManager:
        """As `core.device.autocast`, without trials of all algorithms if they are turned off."""
        context = hardware.autocast(device, precision)
        torch.backends.cudnn.benchmark &= self.trials
        return context


VARIANTS = {
    "bf16": Variant((BF16,)),
    "float32": Variant(("trainer.precision=float32",)),
    "tf32": Variant(("trainer.precision=tf32",)),
    "bf16-contiguous": Variant((BF16, "trainer.memory_format=contiguous")),
    "bf16-without-trials": Variant((BF16,), trials=False),
    "bf16-unfused-adam": Variant((BF16,), foreach=True),
    "bf16-compile": Variant((BF16, "trainer.compile=true")),
    "bf16-cuda-graphs": Variant((BF16, "trainer.compile=reduce-overhead")),
}
SIZES = {
    "64-filters-batch-8": (),
    "64-filters-batch-32": ("trainer.batch_size=32",),
    "8-filters-batch-8": (NARROW,),
}
COMPILED = [name for name, one in VARIANTS.items() if any("compile" in c for c in one.changes)]
EAGER = [name for name in VARIANTS if name not in COMPILED]


def step_checks(sizes: Sequence[str], variants: Sequence[str]) -> list[Check]:
    """One check for each size of the network and each way to compute a step."""
    return [
        Check(
            f"step/{size}-{variant}",
            partial(step_time, size=size, variant=variant),
            seconds=50 if variant in COMPILED else 6,
            needs_gpu=variant == "tf32" or variant in COMPILED or size != "64-filters-batch-8",
        )
        for size in sizes
        for variant in variants
    ]


def step_time(setup: Setup, size: str, variant: str) -> Outcome:
    """Time, kernels and memory of a step."""
    chosen = VARIANTS[variant]
    state, task = setup.training(*SIZES[size], *chosen.changes)
    if chosen.foreach:
        parameters = state.optimizer.param_groups[0]["params"]
        rate = task.trainer.learning_rate
        state.optimizer = torch.optim.Adam(parameters, rate, foreach=True)
    with mock.patch.object(loop, "autocast", chosen.autocast):
        values = measured_steps(state, task, 30 if setup.gpu else 3)
    if variant in COMPILED:
        torch.compiler.reset()  # a function is compiled for a limited number of networks
    return Outcome(values)


def measured_steps(state: State, task: Task, steps: int) -> dict[str, Any]:
    """Return what a step takes in a training: wall clock, the host's share, the device's."""
    state.model.train()
    state.head.train()
    slices = (WARM_UP + steps) * task.trainer.batch_size
    rows = task.rows.repeat(1 + slices // len(task.rows))[:slices]
    batches = epoch_batches(task, rows, torch.Generator(), torch.Generator())
    for batch in islice(batches, WARM_UP):
        loop.train_step(state, task, batch)
    synchronize(task.device)
    if task.device.type == "cuda":  # only now: cuDNN's trials of algorithms need more
        torch.cuda.reset_peak_memory_stats(task.device)
    host, start = [], time.perf_counter()
    for batch in batches:
        begin = time.perf_counter()
        loop.train_step(state, task, batch)
        host.append(time.perf_counter() - begin)
    synchronize(task.device)
    wall = 1e3 * (time.perf_counter() - start) / steps
    values = {"wall [ms]": wall, "host in train_step [ms]": 1e3 * statistics.median(host)}
    if task.device.type == "cuda":
        values |= _device_share(state, task, wall)
    return values


def _device_share(state: State, task: Task, wall: float) -> dict[str, Any]:
    """Kernels of a step, their time and its share of the wall-clock time, and the peak memory."""
    batch, steps = single_batch(task, task.rows[: task.trainer.batch_size]), 3
    peak = torch.cuda.max_memory_allocated(task.device)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(steps):
            loop.train_step(state, task, batch)
        synchronize(task.device)
    return {"peak [GiB]": peak / GIB, **kernels_of_step(profiler.events(), steps, wall)}


def kernels_of_step(events: Iterable[FunctionEvent], steps: int, wall: float) -> dict[str, Any]:
    """Return number and time of the kernels and copies in the profile of some steps.

    `wall`: what a step takes, in ms.
    """
    count, times = 0, defaultdict[str, float](float)
    for event in events:
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation:
            count += 1
            times[event.name[:60]] += event.time_range.elapsed_us() / 1e3 / steps
    device = sum(times.values())
    return {
        "kernels": round(count / steps),
        "device [ms]": device,
        "busy": device / wall,
        "longest kernels [ms]": dict(sorted(times.items(), key=lambda item: -item[1])[:6]),
    }


def epoch_ratio(setup: Setup) -> Outcome:
    """Training part of an epoch / the same steps on loaded batches, and the achieved rate."""
    ratio, parts = epoch_over_bare_steps(5 if setup.gpu else 1, *setup.training(BF16))
    return Outcome({"ratio": ratio, **parts}, ratio <= RATIO if setup.gpu else None)


def epoch_parts(setup: Setup) -> Outcome:
    """Seconds of an epoch: training, validation, how long the recorder holds it up, and in all."""
    starts, ends = [], []
    record_epoch = RunRecorder.epoch

    def timed(*arguments: Any) -> None:
        starts.append(time.perf_counter())
        record_epoch(*arguments)
        ends.append(time.perf_counter())

    epochs = 8 if setup.gpu else 2
    experiment = setup.experiment(BF16, f"trainer.max_epochs={epochs}", "trainer.images_every=0")
    with mock.patch.object(RunRecorder, "epoch", timed):
        run = train(experiment, setup.folder / "parts-of-epoch", QUIET, prepared=setup.prepared)
        closed = time.perf_counter()
    history = read_history(run.folder)
    held = [end - start for start, end in zip(starts, ends, strict=True)]
    values = {
        "train": float(history["train_seconds"][1:].median()),
        "validate": float(history["val_seconds"][1:].median()),
        "record": statistics.median(held[1:]),
        "in all": (ends[-1] - ends[0]) / (epochs - 1),
        "once, at the end of training": closed - ends[-1],
        "training slices": len(setup.prepared.store.rows(setup.prepared.sets.train)),
    }
    return Outcome(values)


def trainings_at_once(setup: Setup, *changes: str) -> Outcome:
    """Epochs per second of 1, 2, 4 and 8 trainings on one GPU."""
    seconds, at_once = (5.0, AT_ONCE) if setup.gpu else (0.3, AT_ONCE[:2])
    setting = Setting(setup.device, (*setup.changes, BF16, *changes), seconds=seconds)
    rates = {str(n): epochs_a_second(n, setup.root.parent, setting) for n in at_once}
    return Outcome({"epochs a second": rates, "largest gain": max(rates.values()) / rates["1"]})


def several_narrow_trainings(setup: Setup) -> Outcome:
    """The same with 8 filters."""
    return trainings_at_once(setup, NARROW)


def hours_of_the_paper(setup: Setup) -> Outcome:
    """Projected hours of the paper's SCGM trainings, with as many at once as gave the most.

    They leave out starting processes, preparing data and evaluating.
    """
    parts = setup.values.get("epoch-parts") or epoch_parts(setup).values
    gain = setup.values.get("trainings-at-once/64-filters", {}).get("largest gain", 1.0)
    more_slices = SLICES / parts["training slices"]
    computing = parts["train"] + parts["validate"]
    epoch = computing * more_slices + parts["in all"] - computing
    alone = TRAININGS * (EPOCHS * epoch + parts["once, at the end of training"]) / 3600
    values = {"one at a time [h]": alone, "several at once [h]": alone / gain}
    is_goal = setup.gpu and "H200" in torch.cuda.get_device_name(setup.device)
    return Outcome(values, alone / gain <= HOURS if is_goal else None)


def upsampling(setup: Setup) -> Outcome:
    """Forward and backward of the last upsampling in ms: torch's own, and two that repeat.

    The latter are torch's deterministic decomposition and the matrix products of the network.
    """
    shape = (8, 128, 64, 64) if setup.gpu else (2, 4, 8, 8)
    size = torch.Size(2 * side for side in shape[2:])
    interpolate = partial(F.interpolate, size=size, mode="bilinear", align_corners=True)
    ways = {
        "torch": (interpolate, False),
        "torch, deterministic": (interpolate, True),
        "matrix products": (partial(upsample, size=size), True),
    }
    device = torch.device(setup.device)
    values: dict[str, Any] = {}
    for dtype in (torch.bfloat16, torch.float32):
        features = torch.randn(shape, dtype=dtype, device=device, requires_grad=True)
        for way, (function, deterministic) in ways.items():
            set_deterministic(deterministic, device)
            seconds = _forward_and_backward(function, features)
            values.setdefault(str(dtype).removeprefix("torch."), {})[way] = 1e3 * seconds
    set_deterministic(False, device)
    return Outcome(values)


def _forward_and_backward(function: Callable[[Tensor], Tensor], features: Tensor) -> float:
    """Median seconds of a function of feature maps and its gradient."""
    seconds = []
    for _ in range(20):
        synchronize(features.device)
        start = time.perf_counter()
        function(features).sum().backward()
        synchronize(features.device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[5:])
