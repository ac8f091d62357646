"""The network as an ONNX graph, from slices to logits, that any runtime takes."""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from softseg import models
from softseg.config.experiment import Experiment
from softseg.core.errors import UserError

if TYPE_CHECKING:
    from onnx import ModelProto


INPUT, OUTPUT = "slices", "logits"
TOLERANCE = 1e-4
"""How far the graph's output may be from torch's, as a share of the largest, or of 1."""
_OPSET = 18  # and its file format: read by onnxruntime 1.14 (2023) and everything newer
_FILE_FORMAT = 8
_AXES = {0: "batch", 2: "height", 3: "width"}
_NEEDED = ("onnx", "onnxruntime", "onnxscript")


def check_installed() -> None:
    """Raise UserError where the extra `onnx` is not installed."""
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise UserError(f"ONNX needs {', '.join(missing)}: pip install 'softseg[onnx]'")


def network_of(experiment: Experiment, weights: Mapping[str, Tensor]) -> nn.Module:
    """The experiment's network on the CPU with these weights, in evaluation."""
    dataset = experiment.dataset
    network = models.build(experiment.model, len(dataset.contrasts), len(dataset.targets))
    network.load_state_dict(weights)
    return network.eval()


def to_onnx(network: nn.Module, experiment: Experiment, output: str = OUTPUT) -> bytes:
    """The graph of a network in evaluation, its weights inside, float32.

    Its input `slices` (batch, C, height, width) and its output (batch, K, height, width) have any
    batch, and any height and width that the network takes. Nothing of this machine is in it, and
    the same network gives the same bytes.

    Raises UserError without the extra `onnx`, and where the graph, run by onnxruntime on slices of
    several shapes, differs from the network.
    """
    check_installed()
    import onnx

    smallest = 2 ** (experiment.model.depth + 1)  # what an instance norm needs, too
    channels = len(experiment.dataset.contrasts)
    graph = _exported(network, torch.zeros(2, channels, 3 * smallest + 1, 2 * smallest + 3), output)
    _make_plain(graph)
    onnx.checker.check_model(graph, full_check=True)
    data: bytes = graph.SerializeToString(deterministic=True)
    sizes = [(smallest, smallest), (smallest + 1, 3 * smallest - 1), (5 * smallest, smallest + 3)]
    _check_same(network, data, [(b + 1, channels, *size) for b, size in enumerate(sizes)])
    return data


def _exported(network: nn.Module, example: Tensor, output: str) -> ModelProto:
    anything = torch.export.Dim.DYNAMIC
    with _quiet():
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[INPUT],
            output_names=[output],
            opset_version=_OPSET,
            dynamic_shapes=(dict.fromkeys(_AXES, anything),),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's talk, of operators that no network of ours has."""
    known = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(known)


def _make_plain(graph: ModelProto) -> None:
    """Name the free axes, and drop the exporter's notes: they tell folders of this machine."""
    graph.ir_version = _FILE_FORMAT
    del graph.metadata_props[:], graph.graph.metadata_props[:], graph.graph.value_info[:]
    for part in (*graph.graph.node, *graph.graph.initializer):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    for end in (*graph.graph.input, *graph.graph.output):
        del end.metadata_props[:]
        for number, name in _AXES.items():
            end.type.tensor_type.shape.dim[number].dim_param = name


@torch.no_grad()
def _check_same(network: nn.Module, data: bytes, shapes: Sequence[tuple[int, ...]]) -> None:
    """Raise UserError unless onnxruntime and torch agree on slices of noise."""
    import onnxruntime  # type: ignore[import-untyped, import-not-found, unused-ignore]

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    draws = np.random.default_rng(0)
    for shape in shapes:
        slices = draws.normal(size=shape).astype(np.float32)
        wanted = network(torch.from_numpy(slices)).numpy()
        found: Any = session.run(None, {INPUT: slices})[0]
        gap = float(np.abs(found - wanted).max() / max(1, np.abs(wanted).max()))
        if not gap <= TOLERANCE:
            size = " x ".join(map(str, shape))
            raise UserError(
                f"the ONNX graph differs from the network by {gap:.1g} on slices of {size}: "
                "package without --onnx, and report it with the versions of torch and onnx"
            )
