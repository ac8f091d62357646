"""Blocks that the backward pass computes again: the same results in less memory."""

from __future__ import annotations

import pytest
import torch

from softseg import models
from softseg.models import unet
from softseg.models.recompute import recomputed
from softseg.runs.build import build_network
from softseg.training.step_memory import training_bytes
from tests.support.experiments import TINY, experiment

PLAIN = {"name": "unet2d", "depth": 2, "filters": 4}
VOLUMES = {"name": "unet3d", "depth": 3, "filters": 4, "deep_supervision": True}
SPECS = {
    "element dropout": {**PLAIN, "dropout": 0.3},
    "channel dropout": {**PLAIN, "dropout": 0.3, "dropout_by": "channel"},
    "volumes": VOLUMES,
    "residual": {**VOLUMES, "encoder": "residual", "norm": "batch", "dropout": 0.3},
}


def results(spec, checkpoint_blocks, precision=torch.float32, backend=None):
    """Output, gradients, buffers and the next random number after a training step."""
    torch.manual_seed(0)
    network = models.build(spec).train()
    network.checkpoint_blocks = checkpoint_blocks
    if backend:
        network.compile(backend=backend, dynamic=False)
    # 3 voxels along each axis at the bottom: with 2, PyTorch's gradient of a 3D convolution in
    # bfloat16 on a CPU is wrong
    samples = torch.randn(2, 1, *(24,) * network.axes)
    with torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32):
        outputs = network(samples)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    sum(output.float().square().mean() for output in outputs).backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    return [*outputs, *gradients, *network.buffers(), torch.rand(1)]


@pytest.fixture
def calls(monkeypatch):
    """The blocks that were recomputed."""
    blocks = []

    def counted(block, features):
        blocks.append(block)
        return recomputed(block, features)

    monkeypatch.setattr(unet, "recomputed", counted)
    return blocks


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", SPECS)
def test_output_gradients_statistics_and_random_numbers_are_the_same(name, precision, calls):
    expected = results(SPECS[name], False, precision)
    assert not calls
    actual = results(SPECS[name], True, precision)
    assert len(calls) == 2 * SPECS[name]["depth"] + 1
    assert all(torch.equal(*pair) for pair in zip(actual, expected, strict=True))


@pytest.fixture
def _forgetful():
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("_forgetful")
def test_a_compiled_network_is_one_graph_in_which_every_block_is_marked():
    """AOTAutograd computes what is marked again, without a second update of statistics."""
    graphs = []

    def backend(graph, examples):
        graphs.append(graph.code)
        return graph

    network = models.build({**PLAIN, "depth": 1, "dropout": 0.0})
    network.checkpoint_blocks = True
    network.compile(backend=backend)
    network(torch.randn(1, 1, 8, 8))
    [code] = graphs
    assert code.count("tag_activation_checkpoint(") == 3


@pytest.mark.usefixtures("_forgetful")
def test_blocks_that_torch_cannot_compile_are_recomputed_with_the_same_results():
    spec = {**PLAIN, "depth": 1, "dropout": 0.3}
    expected = results(spec, False)
    actual = results(spec, True, backend="eager")
    assert all(torch.equal(*pair) for pair in zip(actual, expected, strict=True))


def test_blocks_are_recomputed_only_where_gradients_are_needed(calls):
    network = models.build(PLAIN)
    network.checkpoint_blocks = True
    samples = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        network.train()(samples)
    network.eval()(samples)
    assert not calls
    network.train()(samples)
    assert len(calls) == 5


def test_the_key_reaches_the_network_and_lowers_the_counted_memory():
    chosen = experiment(TINY, checkpoint_blocks=True)
    assert build_network(chosen)[0].checkpoint_blocks
    plain, saving = (training_bytes(e, (8, 1, 64, 64)) for e in (experiment(TINY), chosen))
    assert saving < 0.6 * plain


def test_the_counted_memory_is_that_of_block_inputs_and_the_largest_block():
    """A network of one level: inputs of 3 blocks, and the first block, the largest, at once.

    For 4 filters and n voxels of a slice: the image n, the bottom's input 4 n / 4, the decoder's 8
    n; the pooling keeps 4 n and their int64 indices 8 n / 4, the upsampling nothing; the last
    convolution its input 4 n, the sigmoid its output n. Inside of a block, two convolutions keep
    4 n each for the norm and the activations 4 n each, of which the last is the pooling's or the
    output layer's own.
    """
    spec = {"depth": 1, "filters": 4, "dropout": 0.0, "norm": "instance"}
    spec |= {"name": "unet2d", "head": {"name": "sigmoid"}}
    n, parameters = 64 * 64, sum(p.numel() for p in models.build(spec).parameters())
    values = n * (1 + 1 + 8 + 4 + 2 + 4 + 1) + n * 12
    counted = training_bytes(experiment(spec, checkpoint_blocks=True), (1, 1, 64, 64))
    assert counted - 16 * parameters == pytest.approx(4 * values, rel=0.01)
