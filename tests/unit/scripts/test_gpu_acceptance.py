"""`scripts/gpu_acceptance`: results, failed checks, time, restarts; checks of a small network."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import time
from types import SimpleNamespace

import acceptance_memory
import acceptance_runner
import acceptance_table
import gpu_acceptance
import pytest
import torch
from acceptance_runner import Check, Outcome, Runner
from acceptance_setup import Setup
from acceptance_speed import kernels_of_step
from torch.autograd import DeviceType

from softseg.core.memory import GIB
from tests.support.paths import ROOT, SCRIPTS


def runner(tmp_path, seconds=100.0, results=None):
    return Runner(Setup("cpu", tmp_path), tmp_path / "results.json", seconds, results or {})


def written(tmp_path):
    return json.loads((tmp_path / "results.json").read_text())["checks"]


def passed(_):
    return Outcome({"loss": 0.12345678, "inner": {"slices": 3}}, True)


def test_each_outcome_has_its_line_and_is_written(tmp_path, capsys):
    checks = [
        Check("good", passed),
        Check("bad", lambda _: Outcome({}, False)),
        Check("measured", lambda _: Outcome({"ms": 2})),
        Check("device", passed, needs_gpu=True),
        Check("long", passed, seconds=1000),
    ]
    assert runner(tmp_path).run_all(checks) == 1
    statuses = {name: result["status"] for name, result in written(tmp_path).items()}
    assert statuses == {
        "good": "ok", "bad": "FAIL", "measured": "info", "device": "skipped", "long": "skipped",
    }  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok      good [0.0 s]: loss 0.1235, inner (slices 3)")
    assert "needs a GPU" in lines[3]
    assert "s are left" in lines[4]
    assert lines[5:] == ["5 checks, 1 failed", "  bad"]


def test_a_check_that_raises_does_not_stop_the_others(tmp_path):
    def broken(_):
        raise ValueError("no such kernel")

    assert runner(tmp_path).run_all([Check("broken", broken), Check("good", passed)]) == 1
    results = written(tmp_path)
    assert results["broken"]["reason"] == "ValueError: no such kernel"
    assert "in broken" in results["broken"]["traceback"]
    assert results["good"]["status"] == "ok"


def test_checks_that_pass_or_measure_give_status_0(tmp_path):
    checks = [Check("good", passed), Check("measured", lambda _: Outcome({}))]
    assert runner(tmp_path).run_all(checks) == 0


def test_a_check_that_hangs_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(acceptance_runner, "_EXTRA_SECONDS", 0.05)
    hangs = Check("hangs", lambda _: time.sleep(20), seconds=0.01)
    assert runner(tmp_path).run_all([hangs, Check("good", passed)]) == 1
    assert "took longer" in written(tmp_path)["hangs"]["reason"]


def test_a_resumed_session_runs_the_rest_and_counts_the_time_already_spent(tmp_path):
    def ends_the_process(_):
        raise SystemExit(9)

    checks = [Check("first", ends_the_process), Check("second", passed, 60)]
    with pytest.raises(SystemExit):
        runner(tmp_path).run_all(checks)
    results = json.loads((tmp_path / "results.json").read_text())
    results["checks"]["earlier"] = {"status": "ok", "values": {}, "seconds": 30.0}
    assert runner(tmp_path, 100.0, results).run_all(checks) == 1
    assert "the process ended" in written(tmp_path)["first"]["reason"]
    assert written(tmp_path)["second"]["status"] == "ok"
    del results["checks"]["second"]
    for seconds, status in ((80.0, "skipped"), (100.0, "ok")):
        runner(tmp_path, seconds, results).run_all(checks)
        assert written(tmp_path)["second"]["status"] == status


def test_no_check_runs_on_a_device_that_no_longer_works(tmp_path, monkeypatch):
    monkeypatch.setattr(Setup, "gpu", True)
    monkeypatch.setattr(acceptance_runner, "_recovered", lambda device: False)
    checks = [Check("good", passed), Check("more", passed)]
    assert runner(tmp_path).run_all(checks) == acceptance_runner.DEVICE_LOST
    assert list(written(tmp_path)) == ["good"]


@pytest.mark.parametrize(("arguments", "runs"), [([], 3), (["--cpu"], 1)])
def test_the_command_restarts_after_a_check_that_ended_the_process(monkeypatch, arguments, runs):
    """Two processes are killed (-11), the third one ends."""
    commands = []

    def run(command, env):
        commands.append(command)
        assert str(ROOT) in env["PYTHONPATH"]
        return subprocess.CompletedProcess(command, 0 if len(commands) == 3 else -11)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["gpu_acceptance", *arguments])
    main = runpy.run_path(str(SCRIPTS / "gpu_acceptance"))["main"]
    assert main() == (0 if runs == 3 else -11)
    assert len(commands) == runs
    assert ["--resume" in command for command in commands] == [False, True, True][:runs]


def test_quick_checks_pass_on_a_cpu(tmp_path, monkeypatch, capsys):
    file = tmp_path / "results.json"
    names = ["device-names", "no-waiting", "slices-from-host", "soft-values", "step", "samples"]
    arguments = ["gpu_acceptance", "--cpu", "--json", str(file), "--only", *names]
    monkeypatch.setattr(sys, "argv", arguments)
    assert gpu_acceptance.main() == 0, capsys.readouterr().out
    results = json.loads(file.read_text())
    assert results["device"] == "CPU"
    assert results["versions"]["torch"]
    checks = results["checks"]
    assert checks["no-waiting"]["values"]["steps without waiting"] == 8
    assert checks["step/64-filters-batch-8-tf32"]["status"] == "skipped"
    assert checks["step/64-filters-batch-8-bf16"]["values"]["wall [ms]"] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: it would be measured")
def test_without_a_gpu_the_command_says_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu_acceptance"])
    assert gpu_acceptance.main() == 2
    assert "--cpu" in capsys.readouterr().err


def kernel(name, microseconds, device=DeviceType.CUDA, annotation=False):
    elapsed = SimpleNamespace(elapsed_us=lambda: microseconds)
    return SimpleNamespace(
        name=name, device_type=device, is_user_annotation=annotation, time_range=elapsed
    )


def test_only_kernels_and_copies_count_as_work_of_the_device():
    step = [
        kernel("convolution", 700),
        kernel("Memcpy HtoD", 100),
        kernel("softseg: network", 5000, annotation=True),
        kernel("aten::conv2d", 5000, DeviceType.CPU),
    ]
    values = kernels_of_step(step * 3, 3, wall=1.6)
    assert values["kernels"] == 2
    assert values["device [ms]"] == pytest.approx(0.8)
    assert values["busy"] == pytest.approx(0.5)
    assert list(values["longest kernels [ms]"]) == ["convolution", "Memcpy HtoD"]


def test_memory_checks_limit_the_process_and_lift_the_limit(tmp_path, monkeypatch):
    """On a CPU, whose memory they cannot limit, with CUDA's functions replaced."""
    fractions = []
    for name, value in {
        "empty_cache": None,
        "get_device_properties": SimpleNamespace(total_memory=2 * GIB),
        "memory_reserved": GIB,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(
        torch.cuda,
        "set_per_process_memory_fraction",
        lambda fraction, _: fractions.append(fraction),
    )
    for name, size in {"SLICES": 4, "SIZE": 32, "LARGE_SIZE": 64}.items():
        monkeypatch.setattr(acceptance_memory, name, size)
    setup = Setup("cpu", tmp_path)
    assert not acceptance_memory.prediction_halves_its_batch(setup).passed  # all fit
    assert acceptance_memory.slices_fall_back_to_host(setup).passed  # where they already are
    assert acceptance_memory.many_large_slices(setup).passed
    assert fractions[1::2] == [1.0, 1.0]
    assert fractions[0] == 1.0
    assert fractions[2] == pytest.approx(0.5, abs=0.001)


def test_names_of_checks_are_unique():
    names = [check.name for check in gpu_acceptance.CHECKS]
    assert len(set(names)) == len(names)


# the table in the documentation


def measured():
    step = {"wall [ms]": 2.04, "busy": 0.5}
    values = {
        "epoch-over-bare-steps": {"ratio": 1.0712, "share of that": 0.314},
        **{f"step/64-filters-batch-8-{name}": step for name in ("float32", "tf32", "bf16")},
        "same-bits": {"cost": 1.5},
        "trainings-at-once/64-filters": {
            "epochs a second": {"1": 8.0, "2": 12.0},
            "largest gain": 1.5,
        },
    }
    checks = {name: {"status": "ok", "values": one} for name, one in values.items()}
    return {"device": "NVIDIA H200", "checks": checks}


def test_the_table_has_what_was_measured_and_says_what_was_not():
    lines = acceptance_table.table(measured())
    assert lines[0].split("|")[2].strip() == "NVIDIA H200"
    cells = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in lines[2:]}
    assert cells["training part of an epoch / steps of the bare network, bf16"] == "1.07"
    assert cells["a training step in float32, tf32 and bf16"] == "2.0, 2.0, 2.0 ms"
    assert cells["epochs per second of 1, 2, 4 and 8 trainings at once"] == "8.0, 12.0"
    assert cells["gain of several trainings / what a single one leaves idle"] == "75 %"
    assert cells["projected time of the paper's 200 SCGM trainings"] == "not measured"


def test_the_documentation_has_the_table_and_filling_changes_only_it(tmp_path):
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    [page] = [page for page in pages if acceptance_table.START in page.read_text()]
    copy = tmp_path / page.relative_to(ROOT)
    copy.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "README.md").touch()
    copy.write_text(page.read_text())
    (tmp_path / "results.json").write_text(json.dumps(measured()))
    assert acceptance_table.fill(tmp_path / "results.json", tmp_path) == copy
    before, after = page.read_text().splitlines(), copy.read_text().splitlines()
    changed = [n for n, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
    assert after[changed[0]].startswith(acceptance_table.START)
    rows = {line.split("|")[1] for line in before[changed[0] :] if line.startswith("|")}
    assert {f" {what} " for what in acceptance_table.ROWS} <= rows
    assert changed[-1] < changed[0] + 2 + len(acceptance_table.ROWS)
