"""Profiling and timing report where an epoch spends its time, without changing a result."""

from __future__ import annotations

import copy
import gzip
import io
import json
import re
import statistics

import pytest
import torch
from rich.console import Console

from softseg.training.loop import fit
from softseg.training.profile import PHASES, Profile, bare_step_seconds, steps_per_epoch
from tests.support.tiny import Watcher, tiny_stack, tiny_state, tiny_task


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
