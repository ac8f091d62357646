"""The process of a run does not outlive the process that started it."""

from __future__ import annotations

import subprocess
import sys

import pytest

# the child writes to the output of its parent, which ends when both of them have ended
PARENT = """
import subprocess, sys
subprocess.run([sys.executable, "-c", '''
import time
from softseg.ablation.jobs import die_with_parent
die_with_parent()
print("begun", flush=True)
time.sleep(1)
print("still here", flush=True)
time.sleep(60)
'''])
"""


@pytest.fixture
def parent():
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def test_it_ends_soon_after_its_parent_was_killed(parent):
    assert parent.stdout.readline() == "begun\n"
    parent.kill()
    rest, _ = parent.communicate(timeout=15)  # it would sleep for a minute
    assert rest in ("", "still here\n")


def test_it_continues_while_its_parent_lives(parent):
    assert parent.stdout.readline() == "begun\n"
    assert parent.stdout.readline() == "still here\n"
