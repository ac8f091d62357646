"""Fine-tuning: training that starts from the weights of a run or a package (`init_from`)."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from softseg.config.experiment import Experiment
from softseg.config.load import load_config, validate
from softseg.config.yaml.read import parse_yaml
from softseg.core.errors import UserError, combined_error
from softseg.data import read_split
from softseg.models.unet import Unet
from softseg.package import read_package
from softseg.runs.checkpoint import read_checkpoint
from softseg.runs.folder import Run
from softseg.training.task import State

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceWeights:
    """Trained weights, on the CPU."""

    path: Path
    model: dict[str, Tensor]
    head: dict[str, Tensor]
    version: str  # which weights these are: `epoch 12`
    network: Unet
    trained_on: frozenset[str] | None = None  # digests of the scans it learned from, if recorded
    neighbors: int = 0  # slices before and after each one that it sees, too

    @property
    def sha256(self) -> str:
        """Digest of names, types, shapes and values; the same in a run and in a package of it."""
        digest = hashlib.sha256()
        for part, weights in (("model", self.model), ("head", self.head)):
            for name, tensor in sorted(weights.items()):
                digest.update(f"{part} {name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
                digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Mismatch:
    """A layer that differs between source and network, by its first tensor that differs."""

    layer: str
    tensor: str  # weight, bias, running_mean, ...
    there: tuple[int, ...] | None  # its shape in the source; None: the source lacks it
    here: tuple[int, ...] | None  # its shape in the network; None: the network lacks it

    def __str__(self) -> str:
        if self.here is None:
            return (
                f"{self.layer} of the source is not used here (its {self.tensor} is {self.there})"
            )
        there = "missing" if self.there is None else self.there
        return (
            f"{self.layer} is newly initialized: its {self.tensor} is {there} in the source, "
            f"{self.here} here"
        )


@dataclass(frozen=True)
class FineTuning:
    """Training that starts from the weights of a source."""

    source: SourceWeights
    copied: tuple[str, ...]  # layers that received the source's weights
    mismatches: tuple[Mismatch, ...]
    tested: tuple[str, ...] = ()  # test subjects that the source is known to have learned from

    def summary(self) -> list[str]:
        """Lines for the run's summary: the source, and every layer that does not match."""
        count = len(self.copied)
        warnings = [str(mismatch) for mismatch in self.mismatches]
        if self.source.trained_on is None:
            warnings.append(
                f"{self.source.path} does not record which scans it was trained on; check that "
                "none of the test set is among them"
            )
        if self.tested:
            warnings.append(
                f"the source was trained on {', '.join(self.tested)} of the test set: its scores "
                "will be too good"
            )
        return [
            f"start     from {self.source.path}, {self.source.version}: {count} layers copied",
            *(f"warning   {text}" for text in warnings),
        ]

    def metadata(self) -> dict[str, Any]:
        """The `init_from` entry of run.json."""
        digests = self.source.trained_on
        return {
            "source": str(self.source.path),
            "version": self.source.version,
            "sha256": self.source.sha256,
            "layers_taken": len(self.copied),
            "layers_that_did_not_fit": [asdict(mismatch) for mismatch in self.mismatches],
            "test_subjects_it_was_trained_on": None if digests is None else list(self.tested),
            "trained_on": None if digests is None else sorted(digests),
        }


def source_weights(experiment: Experiment, run: Run, resume: bool) -> SourceWeights | None:
    """The weights that a run starts from; None if none are named, or if the run is resumed.

    Raises UserError if they do not exist, or differ from those that the run began with before it
    was killed.
    """
    init_from = experiment.init_from
    if init_from is None or (resume and run.last.exists()):
        return None
    path = Path(init_from.model)
    if path.resolve() == run.folder.resolve():
        raise UserError(f"init_from: {path} is this run's own folder; choose another --out")
    source = read_source(path)
    _check_layers(path, source.network, experiment.model)
    if source.neighbors != (own := experiment.samples.neighbor_count):
        _log.warning(
            "init_from: the network of %s sees %d slices on each side of a slice, this one %d "
            "(slices.neighbors), so their first layers have other input channels; use the value of "
            "the source to keep its first layer",
            path,
            source.neighbors,
            own,
        )
    recorded = run.metadata().get("init_from", {}).get("sha256") if resume else None
    if recorded not in (None, source.sha256):
        raise UserError(
            f"the weights in {path} are not those that {run.folder} began with; restore them, or "
            "start over with --overwrite"
        )
    return source


def _check_layers(path: Path, source: Unet, own: Unet) -> None:
    """Raise UserError for layers that differ in what names and shapes of weights do not show."""
    keys = ["name", "block", "activation", "downsample"]
    if "batch" not in (source.norm, own.norm):  # other norms have the same weights
        keys.append("norm")
        if source.norm == "group":
            keys.append("norm_groups")
    for key in keys:
        theirs, ours = getattr(source, key), getattr(own, key)
        if theirs != ours:
            raise UserError(
                f"init_from: the network of {path} has model.{key}: {theirs}, this one {ours}; "
                f"set model.{key} to {theirs}"
            )


def read_source(path: Path) -> SourceWeights:
    """Read the weights of a run's best epoch, or of a `.softseg` package.

    Raises UserError for anything else, and for weights that are missing or damaged.
    """
    run = Run(path)
    if run.config.is_file():
        saved = read_checkpoint(run.best)
        version = _version({**run.metadata(), "epoch": saved["epoch"]})
        experiment, digests = load_config(run.config, Experiment), _trained_on(run)
        return SourceWeights(
            path,
            saved["model"],
            saved["head"],
            version,
            experiment.model,
            digests,
            experiment.samples.neighbor_count,
        )
    if not path.is_file():
        raise UserError(
            f"init_from: {path} is neither a run's folder nor a .softseg package; it is relative "
            f"to the working directory, {Path.cwd()}"
        )
    package = read_package(path)
    version = f"{package.metadata['name']}, {_version(package.metadata)}"
    experiment = validate(parse_yaml(package.config, str(path)), Experiment)
    neighbors = experiment.samples.neighbor_count
    return SourceWeights(
        path, package.model, package.head, version, experiment.model, neighbors=neighbors
    )


def _version(metadata: Mapping[str, Any]) -> str:
    """`epoch 12`, with the status of a run that did not finish."""
    status = metadata.get("status", "unknown")
    return f"epoch {metadata['epoch']}{'' if status == 'finished' else f' ({status})'}"


def _trained_on(run: Run) -> frozenset[str] | None:
    """Digests of the scans that a run's weights have learned from or were selected by.

    Includes those of its own source. None if it or its source has not recorded them.
    """
    metadata = run.metadata()
    digests = metadata.get("image_digests")
    inherited = metadata.get("init_from", {}).get("trained_on", [])
    if digests is None or inherited is None or not run.split.is_file():
        return None
    sets = read_split(run.split)
    own = (digest for name in (*sets.train, *sets.validation) for digest in digests.get(name, ()))
    return frozenset((*own, *inherited)) - {""}  # "": constant images


def load_initial_weights(
    state: State, source: SourceWeights | None, test_digests: Mapping[str, Collection[str]]
) -> FineTuning | None:
    """Copy a source's weights into the state before the first step; None without a source.

    `test_digests`: test subject -> the digests of its images. Raises UserError where no layer
    matches, or a frozen one does not.
    """
    if source is None:
        return None
    copied, mismatches = copy_matching_layers(state.model, source.model)
    if not copied:
        reasons = [str(mismatch) for mismatch in mismatches]
        raise combined_error(f"init_from: no layer of {source.path} fits this network", reasons)
    frozen = {
        name.rpartition(".")[0]
        for name, weights in state.model.named_parameters()
        if not weights.requires_grad
    }
    if random := [
        str(mismatch)
        for mismatch in mismatches
        if mismatch.here is not None and mismatch.layer in frozen
    ]:
        raise combined_error(
            "init_from.frozen_blocks: freeze fewer, as these would never learn", random
        )
    _, of_head = copy_matching_layers(state.head, source.head)
    mismatches += [replace(m, layer=f"head.{m.layer}") for m in of_head if m.here is not None]
    digests = source.trained_on or frozenset()
    tested = tuple(name for name, own in test_digests.items() if digests.intersection(own))
    return FineTuning(source, tuple(copied), tuple(mismatches), tested)


@torch.no_grad()
def copy_matching_layers(
    module: nn.Module, weights: Mapping[str, Tensor]
) -> tuple[list[str], list[Mismatch]]:
    """Copy the weights of every layer that matches; return the copied layers and the others.

    A layer matches when the source has one of its name with tensors of the same names and shapes.
    Layers of a block are identified by their rank among those with weights, so a dropout between
    them, which has none, makes no difference.
    """
    here, there = _layers(module.state_dict()), _layers(weights)
    copied, mismatches = list[str](), list[Mismatch]()
    for key in here | there:
        own, other = here.get(key), there.get(key)
        if mismatch := _first_mismatch(own, other):
            mismatches.append(mismatch)
        elif own and other:
            copied.append(own.name)
            for name, tensor in own.tensors.items():
                tensor.copy_(other.tensors[name])
    return copied, mismatches


@dataclass(frozen=True)
class _Layer:
    name: str  # as in the state dict: encoder.0.4
    tensors: dict[str, Tensor]  # weight, bias, ...


def _layers(weights: Mapping[str, Tensor]) -> dict[str, _Layer]:
    """The layers of a state dict by their name, in which a rank replaces the index."""
    layers: dict[str, _Layer] = {}
    for name, tensor in weights.items():
        layer, _, tensor_name = name.rpartition(".")
        layers.setdefault(layer, _Layer(layer, {})).tensors[tensor_name] = tensor
    return {_ranked_name(name, layers): layer for name, layer in layers.items()}


def _ranked_name(layer: str, layers: Iterable[str]) -> str:
    """`encoder.0.4` -> `encoder.0.2`, where a dropout is at 2 and the norm before it at 1.

    The same for every number in the name, as a block may have residual blocks inside.
    """
    parts = layer.split(".")
    ranked = list[str]()
    for place, part in enumerate(parts):
        parents = parts[:place]
        siblings = {p[place] for name in layers if (p := name.split("."))[:place] == parents}
        numbers = [int(sibling) for sibling in siblings if sibling.isdigit()]
        ranked.append(str(sum(n < int(part) for n in numbers)) if part.isdigit() else part)
    return ".".join(ranked)


def _first_mismatch(own: _Layer | None, other: _Layer | None) -> Mismatch | None:
    """The first tensor that differs between the network's layer and the source's, if any."""
    here, there = (
        {name: tuple(tensor.shape) for name, tensor in layer.tensors.items()} if layer else {}
        for layer in (own, other)
    )
    layer_name = next(layer.name for layer in (own, other) if layer)
    for name in here or there:
        if here.get(name) != there.get(name):
            return Mismatch(layer_name, name, there.get(name), here.get(name))
    return None
