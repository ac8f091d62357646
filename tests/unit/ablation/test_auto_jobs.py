"""`--jobs auto`: as many runs at a time as what one of them uses allows."""

from __future__ import annotations

import io
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from softseg.ablation import auto_jobs as module
from softseg.ablation.auto_jobs import Machine, Usage, auto_jobs, choose_jobs, measure
from softseg.ablation.folder import write_shared_stacks
from softseg.core.errors import UserError
from softseg.core.memory import GIB
from tests.support.tiny import tiny_state, tiny_task

ON_CPU = Usage("cpu", threads=1, memory=GIB)
ON_GPU = Usage("cuda", 8, memory=3 * GIB, gpu_memory=2 * GIB, gpu_free=80 * GIB, busy=0.3)
LARGE = Machine(cores=16, memory=100 * GIB)


@pytest.mark.parametrize(
    ("machine", "usage", "count"),
    [
        (LARGE, ON_CPU, 16),
        (LARGE, replace(ON_CPU, threads=3), 5),
        (LARGE, replace(ON_CPU, threads=16), 1),
        (LARGE, replace(ON_CPU, threads=32), 1),  # more than there are
        (replace(LARGE, memory=10 * GIB), ON_CPU, 8),  # a fifth stays free
        (replace(LARGE, memory=0), ON_CPU, 1),
        (LARGE, replace(ON_CPU, device="mps"), 1),
        (LARGE, ON_GPU, 4),  # three would leave it idle for a tenth of the time
        (LARGE, replace(ON_GPU, busy=0.5), 2),
        (LARGE, replace(ON_GPU, busy=0.9), 1),  # a second run would gain little
        (LARGE, replace(ON_GPU, busy=1.0), 1),
        (LARGE, replace(ON_GPU, busy=0.001), 16),  # each needs a core
        (LARGE, replace(ON_GPU, gpu_free=6 * GIB), 2),
        (LARGE, replace(ON_GPU, gpu_free=GIB), 1),
        (replace(LARGE, gpus=2), ON_GPU, 8),
        (replace(LARGE, gpus=2), replace(ON_GPU, gpu_free=6 * GIB), 4),
        (replace(LARGE, memory=8 * GIB), ON_GPU, 2),
    ],
)
def test_the_scarcest_part_of_a_machine_decides(machine, usage, count):
    assert choose_jobs(machine, usage, runs=50).count == count


def test_there_are_no_more_jobs_than_runs():
    assert choose_jobs(LARGE, ON_CPU, runs=3).count == 3


def test_the_reason_names_what_was_measured():
    reason = choose_jobs(replace(LARGE, gpus=2), ON_GPU, runs=50).reason
    assert "8 by each of 2 GPUs (busy 30% of the time with one run)" in reason
    assert "64 by memory of each of 2 GPUs (80.0 GiB free, 2.0 GiB a run)" in reason
    assert "16 by cores (16)" in reason
    assert "26 by memory (100.0 GiB free, 3.0 GiB a run)" in reason
    assert reason.endswith("; 50 to do")
    assert (
        "2 by cores (16, 8 threads a run)"
        in choose_jobs(LARGE, replace(ON_CPU, threads=8), 9).reason
    )


@pytest.fixture
def prepared(study, tmp_path):
    """The runs of an ablation and the files with their slices."""
    _, plan = study()
    return plan, write_shared_stacks(plan, tmp_path / "stacks", Console(quiet=True))


def test_a_run_is_measured_without_writing_anything(prepared):
    plan, stacks = prepared
    usage = measure(plan[0], stacks[plan[0].number])
    assert (usage.device, usage.threads, usage.busy) == ("cpu", 1, 1.0)
    assert 2**20 < usage.memory < 2**36
    assert not plan[0].run.folder.exists()


def test_the_share_in_which_a_gpu_is_busy_is_that_of_steps_without_a_profile(monkeypatch):
    """Profiling makes the host slower, but not the operations of the GPU."""
    clock = iter([1.0, 3.0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(module, "device_seconds", lambda events: ({}, 0.5))
    profiler = SimpleNamespace(events=list)
    monkeypatch.setattr(module, "profile", lambda activities: nullcontext(profiler))
    task = tiny_task()
    assert module._busy_share(tiny_state(task), task) == 0.25
    clock = iter([1.0, 3.0])
    monkeypatch.setattr(module, "device_seconds", lambda events: ({}, 0.0))
    with pytest.raises(UserError, match="sees nothing of what the GPU does"):
        module._busy_share(tiny_state(task), task)


def test_one_run_of_each_kind_is_measured(prepared, monkeypatch):
    plan, stacks = prepared
    other = plan[3].experiment.model_copy(update={"slices": plan[3].experiment.slices})
    model = other.model.model_copy(update={"filters": 64})
    plan[3] = replace(plan[3], experiment=other.model_copy(update={"model": model}))
    usages = {0: replace(ON_GPU, busy=0.2), 3: replace(ON_GPU, gpu_memory=20 * GIB, busy=0.6)}
    monkeypatch.setattr(
        module, "_measure_in_process", lambda planned, stack, gpu: usages[planned.number]
    )
    monkeypatch.setattr(module, "available_cores", lambda: 32)
    monkeypatch.setattr(module, "available_memory_bytes", lambda: 500 * GIB)
    console = Console(file=io.StringIO(), width=300)
    assert auto_jobs(plan, stacks, ["0"], console) == 3  # as 40% of the time on average
    printed = console.file.getvalue()
    assert printed.startswith("--jobs auto: 3 at a time (at most ")
    assert "20.0 GiB a run" in printed
    assert printed.count("\n") == 1


def test_a_run_that_cannot_be_measured_is_named(prepared):
    plan, stacks = prepared
    broken = dict.fromkeys(stacks, Path("absent.safetensors"))
    message = r"--jobs auto: Soft/split-0 cannot be measured \(absent\.safetensors.*number of jobs"
    with pytest.raises(UserError, match=message):
        auto_jobs(plan[:1], broken, [], Console(quiet=True))
