"""Killed or interrupted at any moment: complete files, and the same bits after resuming."""

from __future__ import annotations

import signal
import time

import pytest

from tests.support import project
from tests.support.faults.checks import (
    assert_files_complete,
    assert_one_message,
    assert_resumes,
    assert_same_bits,
)
from tests.support.faults.child import softseg
from tests.support.faults.injected import CALLS, At
from tests.support.faults.study import RESUME, STATES, TRAIN

pytestmark = pytest.mark.slow


def test_a_training_killed_at_a_disk_operation_resumes_to_the_same_bits(study, tmp_path, rng):
    state = rng.choice(STATES)
    folder = study.copy(tmp_path / "p", state)
    fault = At(CALLS, study.random_call(CALLS, state, rng), "SIGKILL")
    ended = softseg(folder, *RESUME, fault=fault)
    assert ended.struck
    assert_one_message(ended, -signal.SIGKILL)
    assert_resumes(folder, study)


def test_a_training_interrupted_at_a_disk_operation_resumes_to_the_same_bits(study, tmp_path, rng):
    state = rng.choice(STATES)
    folder = study.copy(tmp_path / "p", state)
    how = rng.choice(["SIGTERM", "SIGINT"])
    fault = At(CALLS, study.random_call(CALLS, state, rng), how)
    ended = softseg(folder, *RESUME, fault=fault)
    assert ended.struck
    assert_one_message(ended, 130)
    assert_resumes(folder, study)


def test_a_training_killed_at_any_moment_resumes_to_the_same_bits(study, tmp_path, rng):
    """At a random time rather than a disk operation, and through `python -m softseg`."""
    folder = study.copy(tmp_path / "p", "new")
    how = rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    process = project.start(folder, *TRAIN)
    while not (folder / "runs/.tiny.lock").exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, study.seconds * 0.7))
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    # Python itself ends by SIGINT, which shells report as 130, if it was about to `exec` text
    interrupted = {-signal.SIGKILL} if how == signal.SIGKILL else {130, -signal.SIGINT}
    assert process.returncode in {0, *interrupted}, err
    assert err == ""
    assert_resumes(folder, study)


def test_a_training_killed_while_overwriting_never_mixes_two_runs(study, tmp_path, rng):
    """The old run is of another experiment, so its weights must not be resumed from."""
    folder = study.copy(tmp_path / "p", "half")
    other = (*TRAIN, "--set", "loss.omega=4")
    assert_one_message(softseg(folder, *other, "--out", "runs/other"), 0)
    files = len(list((folder / "runs/tiny").rglob("*")))
    fault = At(("remove",), rng.randint(1, files), "SIGKILL")
    assert softseg(folder, *other, "--overwrite", fault=fault).struck
    resumed = softseg(folder, *other, "--resume")
    assert_one_message(resumed, 0, 2)  # 2: enough of the old run exists to be recognized
    if resumed.status == 2:
        assert_one_message(softseg(folder, *other, "--overwrite"), 0)
    assert_same_bits(folder / "runs/tiny", folder / "runs/other")
    assert_files_complete(folder / "runs")
