"""What lets a package be used without softseg and without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from softseg.config.experiment import Experiment
from softseg.package import reference
from softseg.package.entries import GRAPH, REFERENCE, SCRIPT
from softseg.package.onnx import network_of, to_onnx

Weights = Mapping[str, Tensor]


def portable(experiment: Experiment, model: Weights, head: Weights) -> dict[str, bytes]:
    """The entries that `softseg package --onnx` adds: graph, reference script, what that needs.

    Raises UserError where the graph cannot be made (see `to_onnx`).
    """
    return {
        REFERENCE: (json.dumps(facts(experiment, head), indent=2) + "\n").encode(),
        SCRIPT: Path(reference.__file__).read_bytes(),
        GRAPH: to_onnx(network_of(experiment, model), experiment),
    }


def facts(experiment: Experiment, head: Weights) -> dict[str, Any]:
    """`reference.json`: all that lies between a scan and the logits, and from these to the output.

    `slice_axis` is the axis (0, 1 or 2) of the canonical volume that is cut along; `preprocess` is
    the config's; `maximum` of a NormReLU is one number per target, or null for a scan's own.
    """
    kind: dict[str, Any] = {"name": experiment.model.head.name}
    if kind["name"] == "normrelu":
        scale = head.get("scale.maximum")
        kind["maximum"] = None if scale is None else scale.tolist()
    return {
        "name": experiment.name,
        "contrasts": list(experiment.dataset.contrasts),
        "targets": list(experiment.dataset.targets),
        "slice_axis": experiment.slices.axis_index,
        "preprocess": experiment.model_dump(mode="json")["preprocess"],
        "head": kind,
    }
