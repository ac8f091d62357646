"""The entries of `softseg package --onnx`: the network as an ONNX graph, and a script to run it."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from softseg import models
from softseg.config.experiment import Experiment
from softseg.core.errors import UserError
from softseg.package import reference
from softseg.package.archive import GRAPH, REFERENCE, SCRIPT

if TYPE_CHECKING:
    from onnx import ModelProto

INPUT, OUTPUT = "slices", "logits"
TOLERANCE = 1e-4
"""Maximum difference between the graph's output and torch's, relative to the larger of 1 and the
largest output."""
_OPSET = 18  # with this file format, onnxruntime 1.14 (2023) and later can read the graph
_FILE_FORMAT = 8
_AXES_2D = {0: "batch", 2: "height", 3: "width"}
_AXES_3D = {0: "batch"}
_REQUIRED = ("onnx", "onnxruntime", "onnxscript")


def check_installed() -> None:
    """Raise UserError if the extra `onnx` is not installed."""
    if missing := [name for name in _REQUIRED if importlib.util.find_spec(name) is None]:
        raise UserError(f"ONNX needs {', '.join(missing)}: pip install 'softseg[onnx]'")


def onnx_entries(
    experiment: Experiment, model: Mapping[str, Tensor], head: Mapping[str, Tensor]
) -> dict[str, bytes]:
    """Return the graph, the reference script and its settings.

    Raises UserError if the graph cannot be made (see `to_onnx`), for a NormReLU with
    `scope: published`, and for a 3D network whose `patches.size` is null.
    """
    spec = experiment.model.head
    if spec.name == "normrelu" and spec.scope == "published":
        raise UserError(
            "a NormReLU with scope: published divides each batch of slices by its own maximum, "
            "which the script in the package cannot do: package without --onnx"
        )
    if experiment.axes == 3 and experiment.patches.size is None:
        raise UserError("--onnx: the graph has the size of the patches, but patches.size is null")
    settings = pipeline_settings(experiment, head)
    return {
        REFERENCE: (json.dumps(settings, indent=2) + "\n").encode(),
        SCRIPT: Path(reference.__file__).read_bytes(),
        GRAPH: to_onnx(network_with_weights(experiment, model), experiment),
    }


def pipeline_settings(experiment: Experiment, head: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return `reference.json`: the steps from a scan to the logits, and from these to the output.

    `slice_axis` is the axis (0, 1 or 2) of the canonical volume that is cut into slices, and across
    which a crop with two values does not crop; `neighbors` is how many slices before and after each
    one are further channels of it; `patch_size` is that of a 3D network, or null;
    `preprocess` is that of the config, `fill` that of each contrast; `maximum` of a NormReLU is one
    number per target, or null for the maximum of each scan; `mirror` has the axes of a sample that
    are mirrored and the targets that then take each target's place, or is null.
    """
    dataset = experiment.dataset
    head_settings: dict[str, Any] = {"name": experiment.model.head.name}
    if head_settings["name"] == "normrelu":
        maximum = head.get("scale.maximum")
        head_settings["maximum"] = None if maximum is None else maximum.tolist()
    return {
        "name": experiment.name,
        "contrasts": list(dataset.contrasts),
        "targets": list(dataset.targets),
        "fill": [dataset.fill_of(contrast) for contrast in dataset.contrasts],
        "slice_axis": experiment.slices.axis_index,
        "neighbors": experiment.samples.neighbor_count,
        "patch_size": experiment.patches.size if experiment.axes == 3 else None,
        "preprocess": experiment.model_dump(mode="json")["preprocess"],
        "head": head_settings,
        "mirror": asdict(experiment.mirroring) if experiment.evaluate.mirror else None,
    }


def network_with_weights(experiment: Experiment, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return the experiment's network on the CPU with these weights, in evaluation mode."""
    targets = len(experiment.dataset.targets)
    network = models.build(experiment.model, experiment.channels, targets)
    network.load_state_dict(weights)
    return network.eval()


def to_onnx(network: nn.Module, experiment: Experiment, output: str = OUTPUT) -> bytes:
    """Return the graph of a network in evaluation mode, with its weights, in float32.

    Its input `slices` (B, C, H, W) and its output (B, K, H, W) may have any batch size, and any
    height and width that the network accepts. Of a 3D network they are (B, C, X, Y, Z) and
    (B, K, X, Y, Z) with the size of the patches. The graph names nothing of this machine, and the
    same network gives the same bytes.

    Raises UserError if the extra `onnx` is not installed, and if the graph, run by onnxruntime on
    samples of several shapes, differs from the network.
    """
    check_installed()
    import onnx

    example, *others = _sizes(experiment)
    axes = _AXES_2D if experiment.axes == 2 else _AXES_3D
    channels = experiment.channels
    graph = _export(network, torch.zeros(2, channels, *example), output, axes)
    _strip_metadata(graph, axes)
    onnx.checker.check_model(graph, full_check=True)
    data: bytes = graph.SerializeToString(deterministic=True)
    _check_outputs(network, data, [(b + 1, channels, *size) for b, size in enumerate(others)])
    return data


def _sizes(experiment: Experiment) -> list[tuple[int, ...]]:
    """Return a size of samples for the export, and others for the comparison with torch."""
    if experiment.axes == 3:
        size = experiment.patches.size
        assert size is not None
        return [size, size, size]
    h, w = (2 * factor for factor in experiment.model.divisor)  # an instance norm needs this size
    return [(3 * h + 1, 2 * w + 3), (h, w), (h + 1, 3 * w - 1), (5 * h, w + 3)]


def _export(
    network: nn.Module, example: Tensor, output: str, axes: Mapping[int, str]
) -> ModelProto:
    """The graph that torch's exporter makes, without its messages, with these dynamic axes."""
    # the exporter warns of operators that the networks here do not have
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (example,),
                input_names=[INPUT],
                output_names=[output],
                opset_version=_OPSET,
                dynamic_shapes=(dict.fromkeys(axes, torch.export.Dim.DYNAMIC),),
                dynamo=True,
                verbose=False,
            )
    finally:
        logging.disable(disabled)
    assert program is not None
    return program.model_proto


def _strip_metadata(graph: ModelProto, axes: Mapping[int, str]) -> None:
    """Name the dynamic axes, and delete the exporter's notes, which name local folders."""
    graph.ir_version = _FILE_FORMAT
    del graph.metadata_props[:], graph.graph.metadata_props[:], graph.graph.value_info[:]
    for part in (*graph.graph.node, *graph.graph.initializer):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    for tensor in (*graph.graph.input, *graph.graph.output):
        del tensor.metadata_props[:]
        for axis, name in axes.items():
            tensor.type.tensor_type.shape.dim[axis].dim_param = name


@torch.no_grad()
def _check_outputs(network: nn.Module, data: bytes, shapes: Sequence[tuple[int, ...]]) -> None:
    """Raise UserError unless onnxruntime and torch give equal outputs for samples of noise."""
    import onnxruntime  # type: ignore[import-untyped, import-not-found, unused-ignore]

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    for shape in shapes:
        samples = generator.normal(size=shape).astype(np.float32)
        expected = network(torch.from_numpy(samples)).numpy()
        output: Any = session.run(None, {INPUT: samples})[0]
        difference = float(np.abs(output - expected).max() / max(1, np.abs(expected).max()))
        if not difference <= TOLERANCE:  # also if it is NaN
            size = " x ".join(map(str, shape))
            raise UserError(
                f"the ONNX graph differs from the network by {difference:.1g} on samples of "
                f"{size}: package without --onnx, and report it with the versions of torch and onnx"
            )
