"""Deterministic algorithms: switched on and off per experiment, and errors that name operations."""

from __future__ import annotations

import os
import re

import pytest
import torch

from softseg.core.determinism import determinism_errors, set_deterministic
from softseg.core.errors import UserError

CUDA, CPU, MPS = (torch.device(name) for name in ("cuda", "cpu", "mps"))
VARIABLE = "CUBLAS_WORKSPACE_CONFIG"


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    monkeypatch.setenv(VARIABLE, "")  # so that it is restored after the test
    monkeypatch.delenv(VARIABLE)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("device", [CUDA, CPU])
def test_the_next_experiment_decides_again(device):
    for deterministic in (True, False, True):
        set_deterministic(deterministic, device)
        assert torch.are_deterministic_algorithms_enabled() == deterministic
        assert torch.backends.cudnn.deterministic == deterministic


def test_cublas_has_a_deterministic_workspace_before_a_first_training_that_does_not_ask(
    monkeypatch,
):
    """Torch reads the variable once per process, at its first matrix product."""
    set_deterministic(False, CPU)
    assert VARIABLE not in os.environ
    set_deterministic(False, CUDA)
    assert os.environ[VARIABLE] == ":4096:8"
    monkeypatch.setenv(VARIABLE, ":16:8")  # the user's own
    set_deterministic(True, CUDA)
    assert os.environ[VARIABLE] == ":16:8"


def test_a_workspace_that_is_not_deterministic_is_rejected_only_where_it_matters(monkeypatch):
    monkeypatch.setenv(VARIABLE, ":0:0")
    set_deterministic(False, CUDA)
    set_deterministic(True, CPU)
    message = (
        f"trainer.deterministic: the environment variable {VARIABLE} is `:0:0`, which does not "
        "make cuBLAS deterministic; unset it or set :4096:8"
    )
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        set_deterministic(True, CUDA)


def test_an_apple_gpu_is_rejected():
    set_deterministic(False, MPS)
    with pytest.raises(UserError, match="mps has no deterministic algorithms"):
        set_deterministic(True, MPS)
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_operation_without_a_deterministic_algorithm_is_named():
    set_deterministic(True, CPU)
    with pytest.raises(UserError) as caught, determinism_errors():
        torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))
    assert str(caught.value) == (
        "trainer.deterministic: torch has no deterministic algorithm for `put_` on this device; "
        "set trainer.deterministic to false, or train on a CPU"
    )


def test_cublas_that_had_started_is_explained():
    torchs = (
        "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)`"
        " or [...] but this operation is not deterministic because it uses CuBLAS [...] "
        f"{VARIABLE}=:4096:8 or {VARIABLE}=:16:8."
    )
    advice = f"set the environment variable {VARIABLE}=:4096:8 before it starts"
    with pytest.raises(UserError, match=advice), determinism_errors():
        raise RuntimeError(torchs)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="another"), determinism_errors():
        raise RuntimeError("another")
