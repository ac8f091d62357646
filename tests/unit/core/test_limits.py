"""Processors and memory that the system lets this process use."""

from __future__ import annotations

import os

import pytest

from softseg.core.limits import available_cores, available_memory_bytes
from softseg.core.memory import GIB, machine_memory_bytes


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Return a function that writes the files of a system with 16 processors and 64 GiB free."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)

    def of(**groups):
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/meminfo").write_text(f"MemAvailable:   {64 * 2**20} kB\n")
        (tmp_path / "proc/self/cgroup").write_text("0::/job/step\n")
        for name, files in groups.items():
            folder = tmp_path / "sys/fs/cgroup" / name.replace("_", "/")
            folder.mkdir(parents=True, exist_ok=True)
            for file, content in files.items():
                (folder / file).write_text(content)
        return tmp_path

    return of


def test_without_limits_all_of_a_machine_is_available(system):
    root = system(job_step={"cpu.max": "max 100000\n", "memory.max": "max\n"})
    assert available_cores(root) == 16
    assert available_memory_bytes(root) == 64 * GIB


def test_the_limits_of_a_job_around_the_process_count(system):
    used = {"memory.current": f"{6 * GIB}\n", "memory.stat": f"anon 1\ninactive_file {4 * GIB}\n"}
    root = system(job={"cpu.max": "250000 100000\n", "memory.max": f"{8 * GIB}\n", **used})
    assert available_cores(root) == 2
    assert available_memory_bytes(root) == 6 * GIB  # files are given back


def test_a_share_of_a_processor_is_one(system):
    assert available_cores(system(job_step={"cpu.max": "50000 100000\n"})) == 1


def test_this_machine_has_some_of_both(tmp_path):
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
    assert 2**20 < available_memory_bytes() <= machine_memory_bytes()
    assert available_memory_bytes(tmp_path) > 2**20  # a system without these files
