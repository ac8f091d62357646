"""Two processes train the same run: one trains undisturbed, the other reports why it cannot."""

from __future__ import annotations

import signal
import time

import pytest

from tests.support.faults.checks import (
    assert_one_message,
    assert_resumes,
    assert_same_bits,
    assert_same_scores,
)
from tests.support.faults.child import Child, softseg
from tests.support.faults.injected import At
from tests.support.faults.study import RESUME, TRAIN

pytestmark = pytest.mark.slow

OPTIONS = ((), ("--resume",), ("--overwrite",))


def contents(folder):
    """Return the modification time and content of every file of the run."""
    files = [path for path in (folder / "runs/tiny").rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_a_run_in_training_rejects_other_trainings_and_allows_eval(study, tmp_path, rng):
    """The training is stopped at a disk operation; then it continues or is killed."""
    state = rng.choice(["cached", "half"])
    folder = study.copy(tmp_path / "p", state)
    call = rng.choice(["write", "fsync", "rename"])  # the lock uses none of these
    moment = At((call,), study.random_call((call,), state, rng), "SIGSTOP")
    with Child(folder, *RESUME, fault=moment) as training:
        assert training.wait_for_the_fault()
        time.sleep(0.1)  # it stops a moment after it reports the fault
        before = contents(folder)
        for options in OPTIONS:
            rejected = softseg(folder, *TRAIN, *options)
            assert_one_message(rejected, 2)
            assert "another process is training in runs/tiny" in rejected.err
        assert contents(folder) == before
        if (folder / "runs/tiny/checkpoints/best.pt").exists():
            assert_one_message(softseg(folder, "eval", "runs/tiny"), 0)
        continues = rng.random() < 0.5
        training.send("SIGCONT" if continues else "SIGKILL")
        assert_one_message(training.wait(), 0 if continues else -signal.SIGKILL)
    if not continues:
        assert_resumes(folder, study)  # at once: the system releases the lock of a killed process
    assert_same_bits(folder / "runs/tiny", study.finished)
    assert_one_message(softseg(folder, "eval", "runs/tiny", "--threshold-search"), 0)
    assert_same_scores(folder, study)


def test_of_two_simultaneous_trainings_one_trains_and_the_other_is_rejected(study, tmp_path, rng):
    """The other may also start after the first is done, and is then rejected or trains again."""
    folder = study.copy(tmp_path / "p", rng.choice(["new", "cached"]))
    commands = [(*TRAIN, *rng.choice(OPTIONS)) for _ in range(2)]
    with Child(folder, *commands[0]) as first, Child(folder, *commands[1]) as second:
        ended = [first.wait(), second.wait()]
    for command in ended:
        assert_one_message(command, 0, 2)
        messages = ("another process is training in", "exists already")
        assert command.status == 0 or any(text in command.err for text in messages), command.err
    assert 0 in [command.status for command in ended]
    assert_same_bits(folder / "runs/tiny", study.finished)
