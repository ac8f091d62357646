"""From an experiment to its network: random numbers of the caller, and a missing compiler."""

from __future__ import annotations

import pytest
import torch

from softseg.config.trainer import Trainer
from softseg.core.errors import UserError
from softseg.runs import build
from softseg.runs.build import build_predictor, check_compiler, on_device
from tests.support.experiments import TINY, experiment


@pytest.mark.parametrize(("device", "forked"), [("cpu", []), ("cuda:1", ["cuda:1"])])
def test_the_random_numbers_of_the_used_device_only_are_kept(monkeypatch, device, forked):
    """Without a list, torch warns on a machine with several GPUs and starts all of them."""
    kept, fork_rng = [], torch.random.fork_rng

    def fork(devices):
        kept.extend(str(device) for device in devices)
        return fork_rng(devices=[])

    monkeypatch.setattr(torch.random, "fork_rng", fork)
    monkeypatch.setattr(build, "on_device", lambda network, head, *_: (network, head))
    spec = experiment(TINY, device=device, precision="float32", memory_format="contiguous")
    network, head = build.build_network(spec)
    weights = {"model": network.state_dict(), "head": head.state_dict()}
    torch.manual_seed(5)
    build_predictor(spec, weights, "runs/x")
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))
    assert kept == forked


def test_a_published_normrelu_predicts_in_the_batches_of_the_training():
    for scope, batch_size in (("published", 3), ("batch", None)):
        spec = experiment({**TINY, "head": {"name": "normrelu", "scope": scope}}, batch_size=3)
        _, head = build.build_network(spec)
        assert head.batch_size == batch_size


@pytest.fixture(autouse=True)
def _unchecked():
    check_compiler.cache_clear()
    yield
    check_compiler.cache_clear()


def test_a_compiler_that_does_not_work_is_one_message_before_training(monkeypatch):
    def no_compiler(function):
        def run(*_):
            raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nmore")

        return run

    monkeypatch.setattr(torch, "compile", no_compiler)
    spec = experiment(TINY, compile=True, memory_format="contiguous")
    network, head = build.build_network(spec)
    with pytest.raises(UserError) as caught:
        on_device(network, head, spec.trainer, torch.device("cpu"))
    assert "\n" not in str(caught.value)
    assert "trainer.compile: torch.compile does not work on cpu (InvalidCxx" in str(caught.value)
    assert "set trainer.compile: false" in str(caught.value)
    on_device(network, head, Trainer(memory_format="contiguous"), torch.device("cpu"))


@pytest.mark.long
def test_torch_reports_a_missing_compiler_before_a_run_is_written(tmp_path, monkeypatch):
    from tests.support import project

    project.make(tmp_path)
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    arguments = ("train", "tiny.yaml", "--set", "trainer.compile=true")
    status, _, err = project.run(tmp_path, *arguments)
    assert (status, err.count("\n")) == (2, 1), err
    assert "trainer.compile: torch.compile does not work on cpu" in err
    assert not (tmp_path / "runs/tiny").exists()
