"""Peak memory of this process, and what is reported when memory runs out."""

from __future__ import annotations

import errno
import subprocess
import sys

import numpy as np
import pytest
import torch

from softseg.core.errors import UserError
from softseg.core.memory import (
    OutOfMemoryError,
    host_peak_bytes,
    is_out_of_memory,
    memory_errors,
)

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


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        RuntimeError("std::bad_alloc"),
        RuntimeError("unable to mmap 4096 bytes from file <x>: Cannot allocate memory (12)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        RuntimeError("FIND was unable to find an engine to execute this computation"),
        RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=repr,
)
def test_every_librarys_shortage_of_memory_is_recognized(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("shapes differ"), OSError(errno.ENOSPC, "No space left on device"),
     UserError("worker exited without a result; possibly out of memory"), ValueError()],
    ids=repr,
)  # fmt: skip
def test_other_errors_are_not_a_shortage_of_memory(error):
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)), memory_errors("training", "lower x"):
        raise error


@pytest.mark.parametrize(
    ("message", "amount"),
    [
        ("can't allocate memory: you tried to allocate 4294967296 bytes.", " 4.0 GiB"),
        ("CUDA out of memory. Tried to allocate 20.00 MiB.", " 20.00 MiB"),
        ("std::bad_alloc", None),
    ],
)
def test_the_message_has_the_activity_the_advice_and_the_amount_if_it_is_known(message, amount):
    with pytest.raises(OutOfMemoryError) as caught, memory_errors("training", "lower x"):
        raise RuntimeError(message)
    text = str(caught.value)
    assert text.startswith("memory ran out while training")
    assert "; lower x, or end other programs" in text
    assert ("needed another" in text) == (amount is not None)
    assert (amount or "") in text
