"""The tests of this folder run on an emulated accelerator, in one process of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import accelerator

pytest.register_assert_rewrite("tests.emulated.epochs")  # so that a failed check shows its values
LAUNCHER = "test_in_own_process.py"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without --emulate only the test that starts the process is collected, with it all others."""
    if collection_path.suffix != ".py":
        return None
    return (collection_path.name == LAUNCHER) == config.getoption("emulate") or None


@pytest.fixture(scope="session", autouse=True)
def emulated_device(request):
    """Make the accelerator a device of this process, which only --emulate asks for."""
    return accelerator.register() if request.config.getoption("emulate") else None
