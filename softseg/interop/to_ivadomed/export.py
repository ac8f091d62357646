"""Export a model in the layout of ivadomed's packaged models: `name/name.onnx`, `name/name.json`.

ivadomed gives the graph a batch of its own slices and takes the output as the prediction. So the
graph contains the head, and a transposition where ivadomed's slices have another orientation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from torch import Tensor, nn

from softseg.core.errors import UserError
from softseg.core.files import write_atomically
from softseg.inference.model import open_model
from softseg.interop.to_ivadomed.ivadomed_json import (
    differences,
    has_transposed_slices,
    ivadomed_config,
)
from softseg.package.onnx import build_network, check_installed, to_onnx


@dataclass(frozen=True)
class IvadomedExport:
    """The folder of an exported model, and what ivadomed does differently with the model."""

    folder: Path
    differences: Sequence[str]


class NetworkWithHead(nn.Module):
    """Slices (B, C, H, W) -> prediction (B, K, H, W) in [0, 1].

    `transposed`: slices are (B, C, W, H), predictions (B, K, W, H).
    """

    def __init__(self, network: nn.Module, head: nn.Module, transposed: bool) -> None:
        super().__init__()
        self.network, self.head, self.transposed = network, head, transposed

    def forward(self, slices: Tensor) -> Tensor:
        """Return the prediction of a batch; a NormReLU's maximum is the batch's."""
        soft: Tensor = self.head(self.network(slices.mT if self.transposed else slices))
        return soft.mT if self.transposed else soft


def to_ivadomed(source: Path, out: Path, overwrite: bool = False) -> IvadomedExport:
    """Write `out`/name/name.onnx and name.json for a package or a run; `out` must exist.

    Raises UserError without the extra `onnx`, if the folder `out`/name exists (unless
    `overwrite`), and for a model with preprocessing that ivadomed cannot do.
    """
    check_installed()
    model = open_model(source, "cpu")
    experiment, predict = model.experiment, model.predict
    if not out.is_dir():
        raise UserError(f"there is no folder {out}; make it first")
    folder = out / experiment.name
    if folder.exists() and not (overwrite and folder.is_dir()):
        raise UserError(f"{folder} exists already; add --overwrite, or choose another folder")
    config = json.dumps(ivadomed_config(experiment), indent=4) + "\n"
    network = build_network(experiment, predict.model.state_dict())
    transposed = has_transposed_slices(experiment.slices)
    with_head = NetworkWithHead(network, predict.head, transposed).eval()
    graph = to_onnx(with_head, experiment, output="output")
    folder.mkdir(exist_ok=True)
    write_atomically(folder / f"{experiment.name}.onnx", graph)
    write_atomically(folder / f"{experiment.name}.json", config)
    return IvadomedExport(folder, differences(experiment, model.thresholds))


def show(export: IvadomedExport, console: Console) -> None:
    """Print where the model was written, and what is not preserved."""
    heading = f"{export.folder}: for ivadomed's segment_volume, which differs from softseg in that:"
    lines = [heading, *(f"  - {line}" for line in export.differences)]
    for line in lines:
        console.print(line, markup=False, highlight=False)
