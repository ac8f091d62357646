"""What an experiment sets in the process, and what a trained run does on another device."""

from __future__ import annotations

import os

import pytest
import torch

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.runs.build import resolve_hardware
from softseg.runs.folder import Run
from tests.support import project
from tests.support.command import command
from tests.support.paths import CONFIGS


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", os.environ.get("CUBLAS_WORKSPACE_CONFIG", ""))
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    threads = torch.get_num_threads()
    yield
    resolve(trained=False)
    torch.set_num_threads(threads)


@pytest.fixture
def devices(monkeypatch):
    """A machine with a GPU from Ampere on, and an Apple GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


def resolve(*changes, trained=False, device="cpu"):
    changes = (f"trainer.device={device}", "trainer.threads=1", *changes)
    experiment = load_config(CONFIGS / "quickstart.yaml", Experiment, changes)
    return resolve_hardware(experiment, trained=trained).trainer


def settings():
    return {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": torch.backends.cudnn.deterministic,
        "trials": torch.backends.cudnn.benchmark,
    }


@pytest.mark.usefixtures("devices")
def test_each_experiment_of_a_process_has_its_own_settings():
    """As in an ablation or from Python: nothing of the last one is left."""
    wanted = "trainer.deterministic=true"
    fast = {"deterministic": False, "cudnn": False, "trials": True}
    fixed = {"deterministic": True, "cudnn": True, "trials": False}
    plain = {"deterministic": False, "cudnn": False, "trials": False}
    for changes, options, expected in (
        ((), {"device": "cuda"}, fast),
        ((wanted,), {"device": "cuda"}, fixed),
        ((), {"device": "cuda"}, fast),
        ((), {"device": "cuda", "trained": True}, plain),
        ((wanted,), {"device": "cuda", "trained": True}, fixed),
        ((), {"device": "cpu"}, plain),
        ((wanted,), {"device": "cpu"}, fixed),
        ((wanted,), {"device": "cpu", "trained": True}, plain),
        ((wanted,), {"device": "mps", "trained": True}, plain),
    ):
        resolve(*changes, **options)
        assert settings() == expected, (changes, options)


@pytest.mark.usefixtures("devices")
def test_products_outside_of_convolutions_are_never_in_tf32():
    torch.backends.cuda.matmul.allow_tf32 = True  # by the calling program
    assert resolve("trainer.precision=tf32", device="cuda").precision == "tf32"
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.usefixtures("devices")
def test_training_that_cannot_be_deterministic_on_an_apple_gpu_is_rejected():
    with pytest.raises(UserError, match="mps has no deterministic algorithms"):
        resolve("trainer.deterministic=true", device="mps")


@pytest.fixture
def run_command(tmp_path, monkeypatch, capsys):
    """The command in a project: (status, errors)."""
    project.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        status = command(monkeypatch, *arguments)
        return status, capsys.readouterr().err

    return run


def test_tf32_is_rejected_on_a_cpu_before_anything_is_written(run_command, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    change = ("--set", "trainer.precision=tf32")
    status, error = run_command("train", "tiny.yaml", "--out", "run", *change)
    assert status == 2
    assert "trainer.precision: tf32 needs an NVIDIA GPU from Ampere on, and the device is" in error
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_of_a_gpu_is_evaluated_and_used_on_a_cpu(run_command, tmp_path):
    """As if it had been trained there: deterministic and in tf32."""
    assert run_command("train", "tiny.yaml", "--out", "run")[0] == 0
    run = Run(tmp_path / "run")
    text = run.config.read_text().replace("precision: float32", "precision: tf32")
    run.config.write_text(text.replace("deterministic: false", "deterministic: true"))
    assert run_command("eval", "run") == (0, "")
    scan = next((tmp_path / "data").rglob("*image*.nii.gz"))
    arguments = (str(scan), "--out", "predicted", "--device", "cpu")
    assert run_command("predict", "run", *arguments) == (0, "")
    assert not torch.are_deterministic_algorithms_enabled()
