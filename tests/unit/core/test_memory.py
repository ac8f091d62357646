"""How much memory a process has used, told to the user of a run."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from softseg.core.memory import host_peak_bytes

TELL = "from softseg.core.memory import host_peak_bytes; print(host_peak_bytes())"


def test_the_peak_is_the_most_that_was_ever_used():
    before = host_peak_bytes()
    taken = np.ones((before + 2**28) // 8)
    size = taken.nbytes
    del taken
    assert host_peak_bytes() > size


def test_a_small_process_started_by_a_large_one_is_small():
    taken = np.ones(2**27)  # 1 GiB
    child = int(subprocess.check_output([sys.executable, "-c", TELL]))
    assert 0 < child < taken.nbytes < host_peak_bytes()
