"""What run.json records about the start of a run and about its resumptions."""

from __future__ import annotations

import json
import platform

import pytest
import torch

from softseg.runs import provenance as module
from softseg.runs.folder import Run
from softseg.runs.provenance import changed_versions, provenance, start_metadata
from tests.support.paths import ROOT

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 1)


def test_provenance_records_versions_and_command():
    record = provenance(CPU)
    assert record["versions"]["python"] == platform.python_version()
    assert record["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {"softseg", "numpy", "nibabel"} < set(record["versions"])
    assert record["command"]
    json.dumps(record)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a source tree")
def test_provenance_records_the_commit_of_a_source_tree():
    assert provenance(CPU)["git_commit"]


def test_a_resumed_run_keeps_what_was_recorded_at_its_start(tmp_path):
    run = Run(tmp_path)
    run.update_metadata(**start_metadata(run, 0, CPU))
    start = run.metadata()
    run.update_metadata(versions={**start["versions"], "torch": "0.1"}, git_commit="first")
    run.update_metadata(**start_metadata(run, 3, CPU))
    run.update_metadata(**start_metadata(run, 7, CPU))
    metadata = run.metadata()
    assert (metadata["started"], metadata["git_commit"]) == (start["started"], "first")
    assert metadata["versions"]["torch"] == "0.1"
    assert [entry["after_epoch"] for entry in metadata["resumed"]] == [3, 7]
    assert metadata["resumed"][0]["versions"] == provenance(CPU)["versions"]


def test_versions_that_changed_since_the_start_are_listed(tmp_path):
    run = Run(tmp_path)
    run.update_metadata(**start_metadata(run, 0, CPU))
    assert changed_versions(run, CPU) == []
    run.update_metadata(versions={**run.metadata()["versions"], "torch": "0.1"})
    current = provenance(CPU)["versions"]["torch"]
    assert changed_versions(run, CPU) == [f"torch 0.1 -> {current}"]


H200 = {
    "GPU": "NVIDIA H200 (cuda:1)",
    "driver": "570.86.15",
    "CUDA": "12.8",
    "cuDNN": "91002",
}


def fake_gpu(monkeypatch, driver="570.86.15", cuda="12.8", cudnn=91002):
    """Fake a machine with an NVIDIA GPU."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"NVIDIA H200 ({device})")
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: cudnn)
    monkeypatch.setattr(module, "_first_line", lambda *_: driver)


def test_provenance_records_the_processor_and_the_instructions_that_torch_uses(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": "AMD EPYC 9655"})
    instructions = torch.backends.cpu.get_cpu_capability()
    assert provenance(CPU)["hardware"] == {"CPU": f"AMD EPYC 9655, {instructions}"}
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert provenance(CPU)["hardware"] == {"CPU": f"{platform.machine()}, {instructions}"}


def test_provenance_records_gpu_driver_cuda_and_cudnn(monkeypatch):
    fake_gpu(monkeypatch)
    record = provenance(CUDA)
    assert record["hardware"] == {"CPU": provenance(CPU)["hardware"]["CPU"], **H200}
    json.dumps(record)
    fake_gpu(monkeypatch, driver=None, cudnn=None)
    assert set(provenance(CUDA)["hardware"]) == {"CPU", "GPU", "CUDA"}


def test_a_program_that_does_not_exist_or_fails_reports_nothing():
    assert module._first_line("no-such-program-of-a-gpu") is None
    assert module._first_line("git", "no-such-command") is None
    assert module._first_line("git", "--version").startswith("git version")


def test_hardware_that_changed_since_the_start_is_listed(tmp_path, monkeypatch):
    fake_gpu(monkeypatch)
    run = Run(tmp_path)
    run.update_metadata(**start_metadata(run, 0, CUDA))
    assert changed_versions(run, CUDA) == []
    fake_gpu(monkeypatch, driver="580.1", cudnn=91100)
    other = torch.device("cuda", 0)
    assert changed_versions(run, other) == [
        "GPU NVIDIA H200 (cuda:1) -> NVIDIA H200 (cuda:0)",
        "driver 570.86.15 -> 580.1",
        "cuDNN 91002 -> 91100",
    ]
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": "another"})
    assert len(changed_versions(run, CPU)) == 1  # the processor; the GPU is not used any more
    run.update_metadata(**start_metadata(run, 3, other))
    assert run.metadata()["resumed"][0]["hardware"]["driver"] == "580.1"
    run.update_metadata(hardware={})  # of an earlier version
    assert changed_versions(run, CUDA) == []
