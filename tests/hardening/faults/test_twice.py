"""The same run by two processes at once: one trains, undisturbed, the other says why not."""

from __future__ import annotations

import signal
import time

import pytest

from tests.hardening.faults.test_damaged import measures_the_same
from tests.support.faults.checks import resumes, same_bits, says_one_thing
from tests.support.faults.child import Child, softseg
from tests.support.faults.injected import At
from tests.support.faults.study import RESUME, TRAIN

pytestmark = pytest.mark.slow

WAYS = ((), ("--resume",), ("--overwrite",))


def held(folder):
    """What is in a run's folder."""
    files = [path for path in (folder / "runs/tiny").rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_while_one_trains_all_others_refuse_and_eval_does_not_disturb(study, tmp_path, draws):
    """The one is held at one of its changes of the disk; then it goes on, or is killed."""
    state = draws.choice(["cached", "half"])
    folder = study.copy(tmp_path / "p", state)
    call = draws.choice(["write", "fsync", "rename"])  # none of these is the lock's own
    moment = At((call,), study.at_one_of((call,), state, draws), "SIGSTOP")
    with Child(folder, *RESUME, fault=moment) as training:
        assert training.wait_for_the_fault()
        time.sleep(0.1)  # it stops a moment after it has told
        before = held(folder)
        for way in WAYS:
            refused = softseg(folder, *TRAIN, *way)
            says_one_thing(refused, 2)
            assert "another process is training in runs/tiny" in refused.err
        assert held(folder) == before
        if (folder / "runs/tiny/checkpoints/best.pt").exists():
            says_one_thing(softseg(folder, "eval", "runs/tiny"), 0)
        goes_on = draws.random() < 0.5
        training.send("SIGCONT" if goes_on else "SIGKILL")
        says_one_thing(training.wait(), 0 if goes_on else -signal.SIGKILL)
    if not goes_on:
        resumes(folder, study)  # at once: a lock dies with whoever held it
    same_bits(folder / "runs/tiny", study.whole)
    says_one_thing(softseg(folder, "eval", "runs/tiny", "--threshold-search"), 0)
    measures_the_same(folder, study)


def test_of_two_that_start_together_one_trains_and_the_other_refuses(study, tmp_path, draws):
    """Or comes when the one is done, and is told so or does it again."""
    folder = study.copy(tmp_path / "p", draws.choice(["new", "cached"]))
    ways = [(*TRAIN, *draws.choice(WAYS)) for _ in range(2)]
    with Child(folder, *ways[0]) as first, Child(folder, *ways[1]) as second:
        ended = [first.wait(), second.wait()]
    for one in ended:
        says_one_thing(one, 0, 2)
        refusals = ("another process is training in", "exists already")
        assert one.status == 0 or any(text in one.err for text in refusals), one.err
    assert 0 in [one.status for one in ended]
    same_bits(folder / "runs/tiny", study.whole)
