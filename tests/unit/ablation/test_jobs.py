"""The process of a run does not outlive the process that started it."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from softseg.ablation import jobs
from softseg.runs.folder import Run

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


def test_a_run_whose_process_ends_without_a_result_has_failed(tmp_path):
    run = Run(tmp_path / "split-0")
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=os._exit, args=(7,))
    process.start()
    sender.close()
    outcome = jobs._outcome(jobs._Worker(SimpleNamespace(run=run), process, receiver, 0))
    assert outcome.status == "failed"
    assert "without a result (status 7)" in outcome.reason
    assert run.failure.read_text() == f"{outcome.reason}\n"
