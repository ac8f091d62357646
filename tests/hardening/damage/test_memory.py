"""A small file cannot make the reader use much memory, whatever its header or gzip stream says."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib

import numpy as np
import pytest

from tests.support.damage.draft import sound
from tests.support.damage.every import KINDS

MIB = 1 << 20
SOUND = "a sound file of 1 GB"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures Linux memory")
CHILD = r"""
import json, re, resource, sys, traceback
from pathlib import Path
from softseg.data.nifti.checks import FileError
from softseg.data.nifti.io import read_volume

def peak():  # getrusage would also count the parent process
    return 1024 * int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])

read_volume(sys.argv[1])  # imports what the first file needs
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29,) * 2)
for name in json.load(sys.stdin):
    before, message = peak(), ""
    try:
        read_volume(name)
    except FileError as error:
        message = str(error)
    except BaseException:
        message = "Traceback " + traceback.format_exc()
    print(json.dumps([name, message, peak() - before]))
"""


def read_in_child(first, paths):
    """Read files in a process with 0.5 GiB; path -> message and growth of the peak [bytes]."""
    names = json.dumps([str(path) for path in paths])
    command = [sys.executable, "-c", CHILD, str(first)]
    done = subprocess.run(command, input=names, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: (message, growth) for name, message, growth in lines}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One file of every kind of damage, and a sound sparse file of 1 GB."""
    root, files = tmp_path_factory.mktemp("kinds"), {}
    for number, kind in enumerate(kind for kind in KINDS if kind.inject is None):
        folder = root / str(number)
        folder.mkdir()
        rng = np.random.default_rng(zlib.crc32(kind.name.encode()))
        files[kind.name] = kind.write(rng, folder).path
    draft = sound(np.random.default_rng(0), dtype="u1", version=2, packed=False)
    files["first"] = draft.save(root, name="first").path
    draft.header["dim"][1:4] = 1000
    files[SOUND] = draft.save(root, name="large").path
    with files[SOUND].open("r+b") as stream:
        stream.truncate(544 + 10**9)
    return files


@pytest.fixture(scope="module")
def messages(made):
    return read_in_child(made["first"], made.values())


def test_no_kind_of_damage_uses_much_memory(made, messages):
    for name, path in made.items():
        message, growth = messages[str(path)]
        assert "Traceback" not in message, (name, message)
        assert growth < 8 * MIB, name


def test_a_sound_file_that_does_not_fit_into_memory_is_rejected_by_name(made, messages):
    message, _ = messages[str(made[SOUND])]
    assert message.startswith(f"{made[SOUND]}: needs more memory than is free; crop it")
