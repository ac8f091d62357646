"""A disk that is full or fails: one message, the earlier checkpoint intact, then the same bits."""

from __future__ import annotations

import pytest

from tests.support.faults.checks import resumes, says_one_thing
from tests.support.faults.child import softseg
from tests.support.faults.injected import CALLS, SPACE, At, FileSize
from tests.support.faults.study import RESUME, STATES

pytestmark = pytest.mark.slow


def test_a_full_disk_is_told_and_once_there_is_room_it_resumes_to_the_same_bits(
    study, tmp_path, draws
):
    state = draws.choice(STATES)
    folder = study.copy(tmp_path / "p", state)
    full = At(SPACE, study.at_one_of(SPACE, state, draws), "ENOSPC", lasting=True)
    largest = (study.whole / "checkpoints/last.pt").stat().st_size
    fault = draws.choice([full, FileSize(draws.randrange(largest - 1000))])
    ended = softseg(folder, *RESUME, fault=fault)
    says_one_thing(ended, 1, *([2] if ".cache: " in ended.err else []))
    assert ("No space left on device" if fault == full else "File too large") in ended.err
    resumes(folder, study)


def test_a_call_that_fails_once_is_told_and_it_resumes_to_the_same_bits(study, tmp_path, draws):
    state = draws.choice(STATES)
    folder = study.copy(tmp_path / "p", state)
    call = draws.choice([call for call in CALLS if call != "remove"])
    how = draws.choice(["EIO", "ENOSPC"])
    fault = At((call,), study.at_one_of((call,), state, draws), how)
    ended = softseg(folder, *RESUME, fault=fault)
    assert ended.struck
    # 0: the folder was there. 2: in the cache's folder it looks like a problem of the data
    says_one_thing(ended, *((0, 1, 2) if call in ("create", "mkdir") else (1,)))
    assert ended.status != 2 or ".cache" in ended.err
    assert ".part-" not in ended.err  # a name that nobody knows
    resumes(folder, study)
