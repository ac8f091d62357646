"""How many faults each test injects (`--faults`), and the undisturbed run."""

from __future__ import annotations

import os
import random
from functools import cache

import pytest

if os.name != "posix":  # without signals, limits and fork
    collect_ignore_glob = ["*.py"]

FAULTS_OF_20 = {
    "test_a_training_killed_at_a_disk_operation_resumes_to_the_same_bits": 4,
    "test_a_training_interrupted_at_a_disk_operation_resumes_to_the_same_bits": 2,
    "test_a_training_killed_at_any_moment_resumes_to_the_same_bits": 1,
    "test_a_training_killed_while_overwriting_never_mixes_two_runs": 1,
    "test_a_full_disk_is_reported_and_the_training_resumes_to_the_same_bits": 3,
    "test_a_failed_disk_operation_is_reported_and_the_training_resumes": 3,
    "test_a_damaged_file_of_a_run_is_reported_or_makes_no_difference": 2,
    "test_a_damaged_cache_is_rebuilt": 1,
    "test_a_damaged_evaluation_is_reported_or_makes_no_difference": 1,
    "test_a_run_in_training_rejects_other_trainings_and_allows_eval": 1,
    "test_of_two_simultaneous_trainings_one_trains_and_the_other_is_rejected": 1,
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with `rng` once for each of its faults, whose number is the seed."""
    if "rng" in metafunc.fixturenames:
        faults = metafunc.config.getoption("faults") * FAULTS_OF_20[metafunc.function.__name__] / 20
        metafunc.parametrize("rng", range(max(1, round(faults))), indirect=True)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """The random choices of one fault, the same in every test run."""
    return random.Random(f"{request.function.__name__} {request.param}")


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory):
    """Return the undisturbed run with seconds between checkpoints, of a network of so many axes."""
    from tests.support.faults.study import run_study  # not on Windows

    @cache
    def study_of(seconds: int, axes: int):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OMP_NUM_THREADS", "1")  # for the server that children are forked from
            return run_study(tmp_path_factory.mktemp("faults"), seconds, axes)

    return study_of


@pytest.fixture
def study(studies, rng: random.Random):
    """An undisturbed run, with checkpoints after every epoch or rarely; see `study.Study`.

    Every third one is of a 3D network.
    """
    return studies(*rng.choice([(0, 2), (30, 2), (0, 3)]))
