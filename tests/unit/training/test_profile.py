"""Profiling and timing report where an epoch spends its time, without changing a result."""

from __future__ import annotations

import copy
import gzip
import io
import json
import re
import statistics
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from torch._C._autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent

from softseg.training.distributed.processes import TorchrunProcesses
from softseg.training.loop import fit
from softseg.training.profile import (
    PHASES,
    Profile,
    bare_step_seconds,
    device_seconds,
    steps_per_epoch,
)
from tests.support.tiny import Watcher, tiny_stack, tiny_state, tiny_task, with_ignored


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """Train ten epochs of three steps with a profile of the first steps."""
    folder, task = tmp_path_factory.mktemp("run"), tiny_task(max_epochs=10)
    state = tiny_state(task)
    profile = Profile(folder, task.device, steps=20)
    fit(state, task, profile)
    console = Console(file=io.StringIO(), width=120)
    profile.print_result(state.history, 0.5, console)
    return profile, state, task, console.file.getvalue()


def test_every_phase_of_a_step_takes_time(profiled):
    profile, *_ = profiled
    assert set(profile.phases) == set(PHASES)
    assert all(0 < seconds < 1 for seconds in profile.phases.values())
    assert profile.phases["backward"] > profile.phases["gathering"]


def test_the_trace_contains_every_step(profiled):
    profile, *_ = profiled
    events = json.loads(gzip.decompress(profile.trace.read_bytes()))["traceEvents"]
    for name in PHASES:
        assert sum(event.get("name") == f"softseg: {name}" for event in events) >= 20


def test_the_percentages_of_the_table_add_up_to_the_epoch(profiled):
    *_, output = profiled
    percentages = [float(word.strip("%")) for word in output.split() if word.endswith("%")]
    assert sum(percentages) == pytest.approx(100, abs=0.5)
    for word in ("training: augmentation", "validation", "checkpoints and log", "trace.json.gz"):
        assert word in output


def test_the_ratio_to_the_bare_steps_is_printed(profiled):
    _, state, _, output = profiled
    median = statistics.median(record["train_seconds"] for record in state.history)
    ratio = re.search(r"bare network's steps 0\.50 s: ([\d.]+) times", output)
    assert float(ratio[1]) == pytest.approx(median / 0.5, abs=0.006)


def test_profiling_changes_no_weight(profiled):
    _, state, task, _ = profiled
    unprofiled = tiny_state(task)
    fit(unprofiled, task, Watcher())
    for ours, theirs in zip(state.model.parameters(), unprofiled.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_run_too_short_for_a_profile_prints_the_reason(tmp_path):
    task = tiny_task(max_epochs=1)
    state, profile = tiny_state(task), Profile(tmp_path, torch.device("cpu"))
    fit(state, task, profile)
    console = Console(file=io.StringIO(), width=120)
    profile.print_result(state.history, 0.5, console)
    assert "fewer than 25 steps; train more epochs" in console.file.getvalue()
    assert not profile.trace.exists()


def all_weights(state):
    values = {**state.model.state_dict(), **state.head.state_dict(prefix="head.")}
    return copy.deepcopy(values)


def test_timing_bare_steps_changes_neither_the_network_nor_its_training():
    task = tiny_task(max_epochs=2)
    head = {"name": "normrelu", "scope": "running"}
    measured, plain = tiny_state(task, head=head), tiny_state(task, head=head)
    before = all_weights(measured)
    assert bare_step_seconds(measured, task, repeats=2, warm_up=1) > 0
    after = all_weights(measured)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not measured.optimizer.state
    for state in (measured, plain):
        fit(state, task, Watcher())
    actual, expected = all_weights(measured), all_weights(plain)
    assert all(torch.equal(actual[key], expected[key]) for key in actual)


def test_bare_steps_are_those_of_a_compiled_network_if_training_compiles_it(monkeypatch):
    """A copy of a compiled module is not compiled."""
    calls = Counter()

    def compiled(function, mode=None, **_):
        def call(*args, **kwargs):
            calls[mode] += 1
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    graphs = "reduce-overhead"
    for mode, expected in ((False, {}), (True, {None: 3}), (graphs, {graphs: 3})):
        calls.clear()
        task = tiny_task(compile=mode)
        bare_step_seconds(tiny_state(task), task, repeats=2, warm_up=1)
        assert calls == expected


def test_one_of_several_processes_times_full_batches_of_its_own_without_the_others(monkeypatch):
    """With ignored voxels, a step asks the other processes, which have ended, for their count."""

    def fail(*_):
        raise AssertionError

    monkeypatch.setattr(torch.distributed, "all_reduce", fail)
    monkeypatch.setattr(torch.compiler, "set_stance", fail)  # a part of a batch is not compiled
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    task = tiny_task(with_ignored(tiny_stack()), loss="mse", compile=True)
    several = replace(task, processes=TorchrunProcesses(rank=0, world_size=2))
    assert bare_step_seconds(tiny_state(task), several, repeats=1, warm_up=0) > 0


class Recorded:
    """Events of a profile on a GPU, as torch's profiler returns them."""

    def __init__(self):
        self.events, self._calls = [], 100

    def add(self, name, start, end, device=DeviceType.CPU, number=0, **more):
        event = FunctionEvent(number, name, 1, start, end, device_type=device, **more)
        self.events.append(event)

    def phase(self, name, start, end, on_gpu=None):
        """A range of the host and, if there is one, the GPU's annotation of the same name."""
        self.add(f"softseg: {name}", start, end, is_user_annotation=True)
        if on_gpu:
            self.add(f"softseg: {name}", *on_gpu, DeviceType.CUDA, is_user_annotation=True)

    def kernel(self, launched, start, end, call="cudaLaunchKernel"):
        """An operation and the call that launched it, which have the same number."""
        self._calls += 1
        if launched is not None:
            self.add(call, launched, launched + 1, number=self._calls)
        self.add("kernel", start, end, DeviceType.CUDA, self._calls)


def recorded_step():
    step = Recorded()
    step.phase("gathering", 0, 10, on_gpu=(200, 290))  # the GPU idles for most of it
    step.phase("network", 20, 50, on_gpu=(300, 400))
    step.phase("backward", 60, 90)  # another thread launches its operations
    step.phase("update", 90, 99, on_gpu=(500, 501))
    step.kernel(5, 200, 204)
    step.add("aten::add", 95, 96, number=101)  # host operations have numbers of their own
    step.kernel(25, 300, 310)
    step.kernel(30, 310, 330, call="cuLaunchKernel")
    step.kernel(70, 400, 440)
    step.kernel(80, 430, 450)  # on another stream at the same time
    step.kernel(95, 500, 501)
    step.kernel(150, 600, 607)  # after the phases
    step.kernel(None, 700, 701)  # launched before the profile began
    return step


def test_the_operations_of_a_gpu_are_counted_in_the_phase_that_launched_them():
    seconds, busy = device_seconds(recorded_step().events)
    microseconds = {name: value * 1e6 for name, value in seconds.items()}
    assert microseconds == pytest.approx(
        {"gathering": 4, "network": 30, "backward": 60, "update": 1}
    )
    assert busy * 1e6 == pytest.approx(4 + 30 + 50 + 1 + 7 + 1)


def test_gathering_in_another_thread_gets_no_operation_of_the_network():
    step = recorded_step()
    step.phase("gathering", 20, 65)
    step.events.reverse()
    assert device_seconds(step.events)[0] == pytest.approx(
        device_seconds(recorded_step().events)[0]
    )


def test_the_share_in_which_a_gpu_is_busy_is_printed(tmp_path):
    profile = Profile(tmp_path, torch.device("cpu"))
    profile._profiler.stop()
    profile.phases, profile.busy = {"network": 0.01, "backward": 0.02}, 0.04
    profile._steps_done, profile._other_seconds = 30, [0.1] * 3
    console = Console(file=io.StringIO(), width=120)
    profile.print_result([{"train_seconds": 0.5, "val_seconds": 0.1}] * 3, 0.5, console)
    assert "the GPU is busy for 80% of the training part" in console.file.getvalue()
    assert "training: backward" in console.file.getvalue()


def test_where_the_gpu_cannot_be_traced_the_host_is_timed_and_the_output_says_so(tmp_path):
    """Without CUPTI, a profile has no operations of the GPU: every share would be 0 / 0."""
    profile = Profile(tmp_path, torch.device("cpu"), steps=1)
    profile._profiler.stop()
    profile._on_device, profile._other_seconds = True, [0.1]
    step = Recorded()
    step.phase("network", 20, 50)
    step.phase("backward", 60, 70)
    trace = SimpleNamespace(export_chrome_trace=lambda path: None, events=lambda: step.events)
    profile._read_trace(trace)
    assert profile.phases == pytest.approx({"network": 30e-6, "backward": 10e-6})
    assert profile.busy is None
    console = Console(file=io.StringIO(), width=120)
    profile.print_result([{"train_seconds": 0.5, "val_seconds": 0.1}], 0.5, console)
    assert "these are the host's times" in console.file.getvalue()


def test_the_step_time_is_the_median_of_the_repeats_without_the_warm_up(monkeypatch):
    ticks = iter([0, 50, 0, 3, 0, 1, 0, 2])  # a slow first step, then 3, 1 and 2 seconds
    monkeypatch.setattr("softseg.training.profile.time.perf_counter", lambda: next(ticks))
    task = tiny_task()
    assert bare_step_seconds(tiny_state(task), task, repeats=3, warm_up=1) == 2


def test_bare_steps_can_be_timed_with_fewer_slices_than_a_batch():
    task = tiny_task(tiny_stack(volumes=2, slices=2), batch_size=64)
    assert bare_step_seconds(tiny_state(task), task, repeats=1, warm_up=0) > 0


@pytest.mark.parametrize(("batch_size", "steps"), [(4, 3), (8, 1.5), (12, 1), (24, 0.5)])
def test_steps_per_epoch_is_the_number_of_slices_divided_by_the_batch_size(batch_size, steps):
    assert steps_per_epoch(tiny_task(batch_size=batch_size)) == steps
