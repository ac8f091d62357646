"""The ONNX graph gives torch's logits at any size, names nothing of this machine, and can lack."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import softseg
from softseg import models
from softseg.core.errors import UserError
from softseg.package import onnx as exporting
from softseg.package import write_package
from softseg.package.entries import LARGEST
from softseg.package.onnx import to_onnx
from softseg.package.portable import facts
from tests.support.models import seen
from tests.support.packaged_run import plain
from tests.unit.package.test_write import break_weights

pytestmark = pytest.mark.slow


def session(graph):
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def test_a_graph_takes_any_batch_and_size_and_says_what_torch_says():
    """Of the network that differs most from the default one, which the other tests export."""
    spec = seen("model.depth=2", "model.norm=instance", "model.block=conv_relu_norm",
                "dataset.contrasts=[T1w, T2w]", "model.filters=3").experiment  # fmt: skip
    torch.manual_seed(0)
    network = models.build(spec.model, 2, 1).eval()
    graph = to_onnx(network, spec)
    taken, known = session(graph), onnx.load_from_string(graph)
    for shape in [(1, 2, 8, 8), (3, 2, 9, 31), (2, 2, 40, 17), (5, 2, 23, 23)]:
        slices = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        with torch.no_grad():
            wanted = network(torch.from_numpy(slices)).numpy()
        found = taken.run(None, {"slices": slices})[0]
        assert found == pytest.approx(wanted, abs=1e-4)
        assert found.dtype == np.float32
    assert not {"Dropout", "Sigmoid"} & {node.op_type for node in known.graph.node}
    assert taken.get_inputs()[0].shape == ["batch", 2, "height", "width"]
    assert taken.get_outputs()[0].shape == ["batch", 1, "height", "width"]
    for folder in (Path(softseg.__file__).parent, Path(torch.__file__).parents[1], Path.home()):
        assert str(folder).encode() not in graph
    assert b"stack_trace" not in graph


def test_the_same_network_gives_the_same_bytes():
    network, spec = nn.Conv2d(1, 1, 3, padding=1).eval(), seen().experiment
    assert to_onnx(network, spec) == to_onnx(network, spec)


class Moody(nn.Module):
    """Says something else each time."""

    calls = 0

    def forward(self, slices):
        self.calls += 1
        return self.calls * slices


def test_a_graph_that_differs_from_its_network_is_refused():
    with pytest.raises(UserError, match=r"differs from the network by .* package without --onnx"):
        to_onnx(Moody(), seen().experiment)


def test_without_the_extra_it_says_what_to_install_and_writes_nothing(run, tmp_path, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(
        exporting.importlib.util,
        "find_spec",
        lambda name: None if name == "onnxruntime" else there(name),
    )
    with pytest.raises(UserError, match=r"needs onnxruntime: pip install 'softseg\[onnx\]'"):
        write_package(run, tmp_path / "m", plain(), onnx=True)
    assert not any(tmp_path.iterdir())
    write_package(run, tmp_path / "m", plain())


def test_weights_too_large_for_a_second_copy_are_refused(run, tmp_path, monkeypatch):
    """Each entry would fit alone."""
    half = {"model.onnx": bytes(1000)}
    monkeypatch.setattr("softseg.package.write.portable", lambda *_: half)
    monkeypatch.setattr("softseg.package.write.LARGEST", 1_000_000 + 2000)
    with pytest.raises(UserError, match="has more than 1,002,000 bytes, all together"):
        write_package(run, tmp_path / "m", plain(), onnx=True)
    assert LARGEST > 1_000_000_000


def test_weights_that_are_not_finite_are_told_as_such(copied, tmp_path):
    break_weights(copied)
    with pytest.raises(UserError, match="NaN or infinity; train or evaluate"):
        write_package(copied, tmp_path / "m", plain(), onnx=True)


def test_a_running_maximum_goes_into_the_facts_and_a_scans_own_does_not():
    running = seen("model.head={name: normrelu, scope: running}").experiment
    assert facts(running, {"scale.maximum": torch.tensor([2.5])})["head"]["maximum"] == [2.5]
    assert facts(seen("model.head={name: normrelu}").experiment, {})["head"]["maximum"] is None
    assert facts(seen().experiment, {})["head"]["name"] == seen().experiment.model.head.name
