"""Start the tests of the emulated accelerator, which PyTorch would keep for all later tests."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.paths import ROOT


@pytest.mark.slow
def test_the_package_runs_on_an_emulated_accelerator():
    command = [sys.executable, "-m", "pytest", "tests/emulated", "--emulate", "--durations=5"]
    result = subprocess.run(
        [*command, "-p", "no:cacheprovider"], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
