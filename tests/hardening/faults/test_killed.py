"""Killed or interrupted at any moment: whole files, and the same bits once it is resumed."""

from __future__ import annotations

import signal
import time

import pytest

from tests.support import project
from tests.support.faults.checks import leaves_nothing_half, resumes, same_bits, says_one_thing
from tests.support.faults.child import softseg
from tests.support.faults.injected import CALLS, At
from tests.support.faults.study import RESUME, STATES, TRAIN

pytestmark = pytest.mark.slow


def test_killed_at_a_change_of_the_disk_it_resumes_to_the_same_bits(study, tmp_path, draws):
    state = draws.choice(STATES)
    folder = study.copy(tmp_path / "p", state)
    fault = At(CALLS, study.at_one_of(CALLS, state, draws), "SIGKILL")
    ended = softseg(folder, *RESUME, fault=fault)
    assert ended.struck
    says_one_thing(ended, -signal.SIGKILL)
    resumes(folder, study)


def test_interrupted_at_a_change_of_the_disk_it_resumes_to_the_same_bits(study, tmp_path, draws):
    state = draws.choice(STATES)
    folder = study.copy(tmp_path / "p", state)
    how = draws.choice(["SIGTERM", "SIGINT"])
    fault = At(CALLS, study.at_one_of(CALLS, state, draws), how)
    ended = softseg(folder, *RESUME, fault=fault)
    assert ended.struck
    says_one_thing(ended, 130)
    resumes(folder, study)


def test_the_command_killed_at_any_moment_resumes_to_the_same_bits(study, tmp_path, draws):
    """By the clock rather than at a call, and through `python -m softseg`."""
    folder = study.copy(tmp_path / "p", "new")
    how = draws.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    process = project.start(folder, *TRAIN)
    while not (folder / "runs/.tiny.lock").exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(draws.uniform(0, study.seconds * 0.7))
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    # a shell's 130 is also Python's own end by SIGINT, where it was about to `exec` text
    interrupted = {-signal.SIGKILL} if how == signal.SIGKILL else {130, -signal.SIGINT}
    assert process.returncode in {0, *interrupted}, err
    assert err == ""
    resumes(folder, study)


def test_killed_while_it_overwrites_it_never_mixes_two_trainings(study, tmp_path, draws):
    """The old run is another experiment's, so that its weights must not be gone on from."""
    folder = study.copy(tmp_path / "p", "half")
    other = (*TRAIN, "--set", "loss.omega=4")
    says_one_thing(softseg(folder, *other, "--out", "runs/other"), 0)
    files = len(list((folder / "runs/tiny").rglob("*")))
    fault = At(("remove",), draws.randint(1, files), "SIGKILL")
    assert softseg(folder, *other, "--overwrite", fault=fault).struck
    resumed = softseg(folder, *other, "--resume")
    says_one_thing(resumed, 0, 2)  # 2: enough of the old run is there to be told from the new
    if resumed.status == 2:
        says_one_thing(softseg(folder, *other, "--overwrite"), 0)
    same_bits(folder / "runs/tiny", folder / "runs/other")
    leaves_nothing_half(folder / "runs")
