"""The process of a run does not outlive the process that started it."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from softseg.ablation import jobs
from softseg.ablation.design import Cluster
from softseg.core.errors import UserError
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


# What a process of the server does: it records each call that may initialize CUDA, in which the
# driver reads CUDA_VISIBLE_DEVICES, with what the variable is by then.
SERVER = """
import os, sys, torch
calls = []
def record(module, name):
    original = getattr(module, name)
    def recorded(*args, **kwargs):
        calls.append((name, os.environ.get("CUDA_VISIBLE_DEVICES")))
        return original(*args, **kwargs)
    setattr(module, name, recorded)
for name in ("is_available", "device_count", "_lazy_init", "current_device", "mem_get_info",
             "get_device_capability", "get_device_properties", "get_device_name"):
    record(torch.cuda, name)
import pathlib
from types import SimpleNamespace
from softseg.ablation import jobs
run_here = jobs.run_one
def run_one(*_):
    assert not torch.cuda.is_initialized() and torch.cuda._cached_device_count is None
    from softseg.core.device import available_devices
    available_devices()
jobs.run_one = run_one
planned = SimpleNamespace(run=SimpleNamespace(log=pathlib.Path(sys.argv[1])))
jobs._run_in_worker(planned, None, SimpleNamespace(send=lambda outcome: None), "3")
os.write(3, repr(calls).encode())
"""


def test_nothing_asks_for_gpus_before_a_run_knows_its_own(tmp_path):
    log, answer = tmp_path / "log", tmp_path / "answer"
    code = f"import os; os.dup2(os.open({str(answer)!r}, os.O_WRONLY | os.O_CREAT), 3)\n{SERVER}"
    env = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    subprocess.run([sys.executable, "-c", code, str(log)], env=env, check=True)
    assert ("is_available", "3") in (calls := eval(answer.read_text()))
    assert {visible for _, visible in calls} == {"3"}, calls


def test_the_server_of_the_runs_does_not_initialize_cuda_for_a_profiling_daemon(
    monkeypatch, caplog
):
    monkeypatch.setenv("KINETO_USE_DAEMON", "1")
    monkeypatch.setattr(jobs, "_FORKSERVER", False)
    jobs.start_fork_server()
    assert "KINETO_USE_DAEMON" not in os.environ
    assert "KINETO_USE_DAEMON is ignored" in caplog.text


def ray_with(gpus):
    return SimpleNamespace(cluster_resources=lambda: {"GPU": gpus}, shutdown=lambda: None)


def planned_on(device):
    trainer = SimpleNamespace(device=device)
    return SimpleNamespace(experiment=SimpleNamespace(trainer=trainer))


@pytest.mark.parametrize(
    ("device", "gpus_per_run", "gpus", "warned"),
    [("auto", 0, 8, True), ("auto", 0.5, 8, False), ("auto", 0, 0, False), ("cpu", 0, 8, False)],
)
def test_runs_of_a_cluster_that_leave_its_gpus_idle_are_reported(
    caplog, device, gpus_per_run, gpus, warned
):
    jobs._check_gpus(ray_with(gpus), [planned_on(device)], Cluster(gpus=gpus_per_run))
    assert ("the cluster has 8 GPUs, but the runs use the CPU" in caplog.text) is warned
    assert len(caplog.records) == warned


def test_a_gpu_by_name_that_no_run_gets_is_an_error_before_the_runs():
    with pytest.raises(UserError, match=r"trainer.device is cuda, but .* set cluster\.gpus: 1"):
        jobs._check_gpus(ray_with(0), [planned_on("cuda")], Cluster())


def test_without_a_gpu_of_its_own_a_run_on_a_node_sees_none(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "die_with_parent", lambda: None)
    for gpu in (True, False):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        jobs._run_on_node(None, None, tmp_path, tmp_path / "absent", gpu)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ("0,1" if gpu else "")
