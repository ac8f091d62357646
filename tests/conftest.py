"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# the same examples every time: a test run says something about the change, not about the draw;
# --hypothesis-profile=search looks for new ones
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("search", derandomize=False)
settings.load_profile("repeatable")

# a shell ignores SIGINT for what it starts in the background, and child processes inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scans, named by SOFTSEG_DATA; tests that ask for it skip without it."""
    folder = os.environ.get("SOFTSEG_DATA")
    if not folder:
        pytest.skip("SOFTSEG_DATA is not set: no real scans to test on")
    return Path(folder).resolve()


@pytest.fixture
def deterministic() -> Iterator[None]:
    """PyTorch uses deterministic algorithms only."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def pytest_addoption(parser: pytest.Parser) -> None:
    """How thorough the tests are; `scripts/test --all` asks for more of each."""
    parser.addoption("--faults", type=int, default=20, metavar="N", help="faults to inject in all")
    parser.addoption("--emulate", action="store_true", help="run tests/emulated in this process")
    parser.addoption("--long", action="store_true", help="run the tests marked long, too")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Long tests wait until they are asked for."""
    if item.get_closest_marker("long") and not item.config.getoption("long"):
        pytest.skip("a long test: add --long, or run scripts/test --all")
