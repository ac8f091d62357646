"""The ONNX graph gives torch's logits at any size, names nothing local, and is optional."""

from __future__ import annotations

import importlib.util
import re
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
from softseg.package import onnx as onnx_export
from softseg.package import write_package
from softseg.package.archive import LARGEST
from softseg.package.onnx import pipeline_settings, to_onnx
from tests.support.models import seen
from tests.support.packaged_run import break_weights, quiet_console

pytestmark = pytest.mark.slow


def session(graph):
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def test_a_graph_takes_any_batch_and_size_and_gives_torchs_output():
    """The network differs as much as possible from the default one, which other tests export."""
    spec = seen("model.depth=2", "model.norm=instance", "model.block=conv_relu_norm",
                "dataset.contrasts=[T1w, T2w]", "model.filters=3").experiment  # fmt: skip
    torch.manual_seed(0)
    network = models.build(spec.model, 2, 1).eval()
    graph = to_onnx(network, spec)
    runtime, loaded = session(graph), onnx.load_from_string(graph)
    for shape in [(1, 2, 8, 8), (3, 2, 9, 31), (2, 2, 40, 17), (5, 2, 23, 23)]:
        slices = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(slices)).numpy()
        output = runtime.run(None, {"slices": slices})[0]
        assert output == pytest.approx(expected, abs=1e-4)
        assert output.dtype == np.float32
    assert not {"Dropout", "Sigmoid"} & {node.op_type for node in loaded.graph.node}
    assert runtime.get_inputs()[0].shape == ["batch", 2, "height", "width"]
    assert runtime.get_outputs()[0].shape == ["batch", 1, "height", "width"]
    for folder in (Path(softseg.__file__).parent, Path(torch.__file__).parents[1], Path.home()):
        assert str(folder).encode() not in graph
    assert b"stack_trace" not in graph


@pytest.mark.parametrize(
    "sets",
    [
        ("model.downsample=strided_convolution", "model.upsample=transposed_convolution"),
        ("model.name=unet3d", "model.depth=1", "patches.size=[9, 8, 6]",
         "model.downsample=max_pool", "model.upsample=linear", "model.dropout=0.2"),
    ],
    ids=["strided-2d", "pooled-3d"],
)  # fmt: skip
def test_other_layers_can_be_exported(sets):
    spec = seen(*sets).experiment
    torch.manual_seed(0)
    graph = to_onnx(models.build(spec.model, 1, 1).eval(), spec)
    expected = ["batch", 1, *(spec.patches.size if spec.axes == 3 else ("height", "width"))]
    assert session(graph).get_inputs()[0].shape == expected


def test_the_same_network_gives_the_same_bytes():
    network, spec = nn.Conv2d(1, 1, 3, padding=1).eval(), seen().experiment
    assert to_onnx(network, spec) == to_onnx(network, spec)


class Unstable(nn.Module):
    """A network with another output at each call."""

    calls = 0

    def forward(self, slices):
        self.calls += 1
        return self.calls * slices


def test_a_graph_that_differs_from_its_network_is_rejected():
    with pytest.raises(UserError, match=r"differs from the network by .* package without --onnx"):
        to_onnx(Unstable(), seen().experiment)


def test_without_the_extra_the_error_says_what_to_install_and_nothing_is_written(
    run, tmp_path, monkeypatch
):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        onnx_export.importlib.util,
        "find_spec",
        lambda name: None if name == "onnxruntime" else find_spec(name),
    )
    with pytest.raises(UserError, match=r"needs onnxruntime: pip install 'softseg\[onnx\]'"):
        write_package(run, tmp_path / "m", quiet_console(), onnx=True)
    assert not any(tmp_path.iterdir())
    write_package(run, tmp_path / "m", quiet_console())


def test_a_package_too_large_with_a_second_copy_of_the_weights_is_rejected(
    run, tmp_path, monkeypatch
):
    """Each entry is small enough."""
    half = {"model.onnx": bytes(1000)}
    monkeypatch.setattr("softseg.package.write.onnx_entries", lambda *_: half)
    monkeypatch.setattr("softseg.package.write.LARGEST", 1_000_000 + 2000)
    with pytest.raises(UserError, match="has more than 1,002,000 bytes in total"):
        write_package(run, tmp_path / "m", quiet_console(), onnx=True)
    assert LARGEST > 1_000_000_000


def test_weights_that_are_not_finite_are_rejected_before_the_export(copied, tmp_path):
    break_weights(copied)
    with pytest.raises(UserError, match="NaN or infinity; train or evaluate"):
        write_package(copied, tmp_path / "m", quiet_console(), onnx=True)


def test_a_maximum_of_each_batch_is_rejected_and_nothing_is_written(copied, tmp_path):
    text = copied.config.read_text()
    assert "name: sigmoid" in text
    head = re.sub(r"name: sigmoid\n(\s+(bias|prior): .*\n)*", "name: normrelu\nSCOPE", text)
    indent = re.search(r"( *)name: normrelu", head)[1]
    copied.config.write_text(head.replace("SCOPE", f"{indent}scope: published\n"))
    with pytest.raises(UserError, match=r"scope: published.*: package without --onnx"):
        write_package(copied, tmp_path / "m", quiet_console(), onnx=True)
    assert not (tmp_path / "m").exists()
    assert write_package(copied, tmp_path / "m", quiet_console()).is_file()


def test_a_running_maximum_is_in_the_settings_and_the_maximum_of_a_scan_is_not():
    running = seen("model.head={name: normrelu, scope: running}").experiment
    head = pipeline_settings(running, {"scale.maximum": torch.tensor([2.5])})["head"]
    assert head["maximum"] == [2.5]
    per_scan = seen("model.head={name: normrelu}").experiment
    assert pipeline_settings(per_scan, {})["head"]["maximum"] is None
    default = seen().experiment
    assert pipeline_settings(default, {})["head"]["name"] == default.model.head.name
