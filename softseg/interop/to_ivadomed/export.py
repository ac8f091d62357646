"""A model of ours in the layout of ivadomed's packaged models: `name/name.onnx`, `name/name.json`.

ivadomed shows the graph a batch of its own slices and takes the output as the prediction. So the
head is in the graph, and so is a transposition where its slices lie otherwise than ours.
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
from softseg.inference.model import Model, open_model
from softseg.interop.to_ivadomed.ivadomed_json import config, not_preserved, shown_transposed
from softseg.package.onnx import check_installed, network_of, to_onnx


@dataclass(frozen=True)
class Exported:
    """What was written, and what the tools that read it do otherwise."""

    folder: Path
    not_preserved: Sequence[str]


class WithHead(nn.Module):
    """Slices (B, C, H, W) -> prediction in [0, 1]; `transposed`: of slices (B, C, W, H)."""

    def __init__(self, network: nn.Module, head: nn.Module, transposed: bool) -> None:
        super().__init__()
        self.network, self.head, self.transposed = network, head, transposed

    def forward(self, slices: Tensor) -> Tensor:
        """The prediction of a batch; a NormReLU's maximum is the batch's."""
        soft: Tensor = self.head(self.network(slices.mT if self.transposed else slices))
        return soft.mT if self.transposed else soft


def to_ivadomed(source: Path, out: Path, overwrite: bool = False) -> Exported:
    """Write `out`/name/name.onnx and name.json for a package or a run; `out` must be there.

    Raises UserError without the extra `onnx`, where the folder `out`/name exists (unless
    `overwrite`), and for a model whose preprocessing ivadomed cannot do.
    """
    check_installed()
    model = open_model(source, "cpu")
    name = model.experiment.name
    folder = _free(out, name, overwrite)
    known = json.dumps(config(model.experiment), indent=4) + "\n"
    graph = _graph(model)
    folder.mkdir(exist_ok=True)
    write_atomically(folder / f"{name}.onnx", graph)
    write_atomically(folder / f"{name}.json", known)
    return Exported(folder, not_preserved(model.experiment, model.thresholds))


def _free(out: Path, name: str, overwrite: bool) -> Path:
    if not out.is_dir():
        raise UserError(f"there is no folder {out}; make it first")
    folder = out / name
    if folder.exists() and not (overwrite and folder.is_dir()):
        raise UserError(f"{folder} exists already; add --overwrite, or choose another folder")
    return folder


def _graph(model: Model) -> bytes:
    experiment, predict = model.experiment, model.predict
    network = network_of(experiment, predict.model.state_dict())
    transposed = shown_transposed(experiment.slices)
    whole = WithHead(network, predict.head, transposed).eval()
    return to_onnx(whole, experiment, output="output")


def show(exported: Exported, console: Console) -> None:
    """Say what was written and what is not preserved."""
    console.print(f"{exported.folder}: for ivadomed's segment_volume. It is not the same in that:",
                  markup=False, highlight=False)  # fmt: skip
    for line in exported.not_preserved:
        console.print(f"  - {line}", markup=False, highlight=False)
