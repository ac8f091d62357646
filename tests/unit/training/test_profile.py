"""Where the time of an epoch goes is told, and changes nothing."""

from __future__ import annotations

import gzip
import io
import json
import re
import statistics

import pytest
import torch
from rich.console import Console

from softseg.training.loop import fit
from softseg.training.profile import PHASES, Profile
from tests.support.tiny import Watcher, tiny_state, tiny_task


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """Ten epochs of three steps, of which the first thirty steps cover the profile."""
    folder, task = tmp_path_factory.mktemp("run"), tiny_task(max_epochs=10)
    state = tiny_state(task)
    watcher = Profile(folder, task.device, steps=20)
    fit(state, task, watcher)
    console = Console(file=io.StringIO(), width=120)
    watcher.print_result(state.history, 0.5, console)
    return watcher, state, task, console.file.getvalue()


def test_every_phase_of_a_step_takes_time(profiled):
    watcher, *_ = profiled
    assert set(watcher.phases) == set(PHASES)
    assert all(0 < seconds < 1 for seconds in watcher.phases.values())
    assert watcher.phases["backward"] > watcher.phases["gathering"]


def test_the_trace_has_the_steps(profiled):
    watcher, *_ = profiled
    events = json.loads(gzip.decompress(watcher.trace.read_bytes()))["traceEvents"]
    for name in PHASES:
        assert sum(event.get("name") == f"softseg: {name}" for event in events) >= 20


def test_the_table_accounts_for_the_epoch(profiled):
    *_, said = profiled
    shares = [float(word.strip("%")) for word in said.split() if word.endswith("%")]
    assert sum(shares) == pytest.approx(100, abs=0.5)
    for word in ("training: augmentation", "validation", "checkpoints and log", "trace.json.gz"):
        assert word in said


def test_the_ratio_to_the_bare_steps_is_printed(profiled):
    _, state, _, output = profiled
    median = statistics.median(record["train_seconds"] for record in state.history)
    ratio = re.search(r"bare network's steps 0\.50 s: ([\d.]+) times", output)
    assert float(ratio[1]) == pytest.approx(median / 0.5, abs=0.006)


def test_watching_changes_no_weight(profiled):
    _, state, task, _ = profiled
    unwatched = tiny_state(task)
    fit(unwatched, task, Watcher())
    for ours, theirs in zip(state.model.parameters(), unwatched.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_training_too_short_to_profile_says_so(tmp_path):
    task = tiny_task(max_epochs=1)
    state, watcher = tiny_state(task), Profile(tmp_path, torch.device("cpu"))
    fit(state, task, watcher)
    console = Console(file=io.StringIO(), width=120)
    watcher.print_result(state.history, 0.5, console)
    assert "fewer than 25 steps; train more epochs" in console.file.getvalue()
    assert not watcher.trace.exists()
