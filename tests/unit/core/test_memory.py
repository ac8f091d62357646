"""Peak memory of this process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from softseg.core.memory import host_peak_bytes

PRINT_PEAK = "from softseg.core.memory import host_peak_bytes; print(host_peak_bytes())"


def test_the_peak_includes_memory_that_was_freed_again():
    before = host_peak_bytes()
    array = np.ones((before + 2**28) // 8)
    size = array.nbytes
    del array
    assert host_peak_bytes() > size


def test_the_peak_of_a_child_process_does_not_include_its_parents():
    array = np.ones(2**27)  # 1 GiB
    child = int(subprocess.check_output([sys.executable, "-c", PRINT_PEAK]))
    assert 0 < child < array.nbytes < host_peak_bytes()
