"""How many faults each test injects (`--faults`), and the undisturbed training beside them."""

from __future__ import annotations

import os
import random

import pytest

if os.name != "posix":  # signals, limits and fork
    collect_ignore_glob = ["*.py"]

OF_20 = {
    "test_killed_at_a_change_of_the_disk_it_resumes_to_the_same_bits": 4,
    "test_interrupted_at_a_change_of_the_disk_it_resumes_to_the_same_bits": 2,
    "test_the_command_killed_at_any_moment_resumes_to_the_same_bits": 1,
    "test_killed_while_it_overwrites_it_never_mixes_two_trainings": 1,
    "test_a_full_disk_is_told_and_once_there_is_room_it_resumes_to_the_same_bits": 3,
    "test_a_call_that_fails_once_is_told_and_it_resumes_to_the_same_bits": 3,
    "test_a_damaged_file_of_a_run_is_told_or_makes_no_difference": 2,
    "test_a_damaged_cache_is_made_again": 1,
    "test_a_damaged_evaluation_is_told_or_makes_no_difference": 1,
    "test_while_one_trains_all_others_refuse_and_eval_does_not_disturb": 1,
    "test_of_two_that_start_together_one_trains_and_the_other_refuses": 1,
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with `draws` runs once for each of its faults, whose number seeds them."""
    if "draws" in metafunc.fixturenames:
        faults = metafunc.config.getoption("faults") * OF_20[metafunc.function.__name__] / 20
        metafunc.parametrize("draws", range(max(1, round(faults))), indirect=True)


@pytest.fixture
def draws(request: pytest.FixtureRequest) -> random.Random:
    """The random choices of one fault, the same every time."""
    return random.Random(f"{request.function.__name__} {request.param}")


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory):
    """See `study.Study`."""
    from tests.support.faults.study import carry_out  # not on Windows

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # of the server that children are forked from
        return carry_out(tmp_path_factory.mktemp("faults"))
