"""A disk that is full or fails: one message, intact checkpoints, and then the same bits."""

from __future__ import annotations

import pytest

from tests.support.faults.checks import assert_one_message, assert_resumes
from tests.support.faults.child import softseg
from tests.support.faults.injected import CALLS, SPACE, At, FileSize
from tests.support.faults.study import RESUME, STATES

pytestmark = pytest.mark.slow


def test_a_full_disk_is_reported_and_the_training_resumes_to_the_same_bits(study, tmp_path, rng):
    state = rng.choice(STATES)
    folder = study.copy(tmp_path / "p", state)
    full = At(SPACE, study.random_call(SPACE, state, rng), "ENOSPC", lasting=True)
    largest = (study.finished / "checkpoints/last.pt").stat().st_size
    fault = rng.choice([full, FileSize(rng.randrange(largest - 1000))])
    ended = softseg(folder, *RESUME, fault=fault)
    assert_one_message(ended, 1)
    assert ("No space left on device" if fault == full else "File too large") in ended.err
    assert_resumes(folder, study)


def test_a_failed_disk_operation_is_reported_and_the_training_resumes(study, tmp_path, rng):
    state = rng.choice(STATES)
    folder = study.copy(tmp_path / "p", state)
    call = rng.choice([call for call in CALLS if call != "remove"])
    how = rng.choice(["EIO", "ENOSPC"])
    fault = At((call,), study.random_call((call,), state, rng), how)
    ended = softseg(folder, *RESUME, fault=fault)
    assert ended.struck
    status = {"ENOSPC": 1, "EIO": 2}[how]
    # 0: the folder existed
    assert_one_message(ended, *((0, status) if call in ("create", "mkdir") else (status,)))
    assert ".part-" not in ended.err  # a name that the user does not know
    assert_resumes(folder, study)
