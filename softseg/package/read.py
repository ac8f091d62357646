"""Read a package; every byte of it may come from a stranger."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from softseg import models
from softseg.config.experiment import Experiment
from softseg.config.load import dump, validate
from softseg.config.yaml.read import parse_yaml
from softseg.core.errors import UserError
from softseg.core.memory import is_out_of_memory
from softseg.core.version import __version__
from softseg.package.archive import (
    ABOUT,
    ADVICE,
    CARD,
    CONFIG,
    HEAD,
    MANIFEST,
    MODEL,
    THRESHOLDS,
    Manifest,
    PackageError,
    check_checksums,
    check_entries,
    open_archive,
    read_entry,
    read_json_entry,
    read_manifest,
)
from softseg.package.metadata import ModelMetadata, Thresholds, anonymize, asks_for_roi
from softseg.runs.thresholds import Threshold

Weights = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Package:
    """A model with everything needed to segment a scan as in its training."""

    path: Path
    config: str  # YAML of an Experiment that names no local folder, file or device
    model: Weights  # on the CPU, finite, of the shapes of the config's network
    head: Weights
    thresholds: dict[str, Threshold] | None  # of every target; None: no search was run
    metadata: dict[str, Any]  # about.json, and the manifest's `format` and `softseg`
    card: str  # Markdown


def read_package(path: Path) -> Package:
    """Read a package into memory; nothing of it is written to disk, executed or unpickled.

    Raises UserError with the problem and its fix for a missing file, a file that is not a package,
    a package of a newer format, and any damage.
    """
    try:
        with open_archive(path) as archive:
            manifest = read_manifest(read_entry(archive, MANIFEST))
            check_entries(archive)
            contents = {name: read_entry(archive, name) for name in archive.namelist()}
        check_checksums(manifest, contents)
        return parse_package(path, contents, manifest)
    except PackageError as error:
        raise UserError(f"{path} {error}; {error.advice}") from error
    except FileNotFoundError:
        raise UserError(f"{path}: no such package") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def parse_package(path: Path, contents: Mapping[str, bytes], manifest: Manifest) -> Package:
    """Return the package of these entries. Raises PackageError if one is invalid."""
    experiment = _parse_config(contents[CONFIG], manifest.softseg)
    dataset, targets = experiment.dataset, tuple(experiment.dataset.targets)
    metadata = read_json_entry(ModelMetadata, ABOUT, contents[ABOUT])
    declared = (metadata.name, metadata.contrasts, metadata.targets, metadata.axes)
    same = declared == (experiment.name, dataset.contrasts, targets, experiment.axes)
    same &= metadata.neighbors == experiment.samples.neighbor_count
    if not same or metadata.needs_roi != asks_for_roi(experiment):
        raise PackageError("is damaged: about.json and config.yaml are of different models")
    model, head = (_read_weights(name, contents[name]) for name in (MODEL, HEAD))
    _check_shapes(experiment, model, head)
    thresholds = None
    if THRESHOLDS in contents:
        thresholds = read_json_entry(Thresholds, THRESHOLDS, contents[THRESHOLDS]).values()
        if tuple(thresholds) != targets:
            raise PackageError("is damaged: thresholds.json has other targets than config.yaml")
    versions = {"format": manifest.format, "softseg": manifest.softseg}
    return Package(
        path,
        dump(experiment),
        model,
        head,
        thresholds,
        {**metadata.model_dump(mode="json"), **versions},
        _decode(CARD, contents[CARD]),
    )


def _parse_config(data: bytes, writer: str) -> Experiment:
    """The experiment, anonymized again: a stranger's config must not name local files."""
    try:
        tree = parse_yaml(_decode(CONFIG, data), CONFIG, first_line=1)
        return anonymize(validate(tree, Experiment))
    except UserError as error:
        reason = textwrap.shorten(str(error), 400)
        message = f"holds a config.yaml that this softseg ({__version__}) rejects ({reason})"
        raise PackageError(message, f"install softseg {writer} or newer, or {ADVICE}") from error


def _decode(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PackageError(f"is damaged: {name} is not UTF-8 text") from error


def _read_weights(name: str, data: bytes) -> Weights:
    """The tensors of an entry, on the CPU. Raises PackageError if damaged or not finite."""
    try:
        weights: Weights = safetensors.torch.load(data)
    except Exception as error:  # each kind of damage raises another exception
        if is_out_of_memory(error):
            raise
        raise PackageError(f"is damaged: {name} does not hold weights") from error
    for key, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise PackageError(f"cannot be used: {name}: {key[:80]!r} contains NaN or infinity")
    return weights


def _check_shapes(experiment: Experiment, model: Weights, head: Weights) -> None:
    """Raise PackageError if the weights are not those of the experiment's network and head."""
    spec = experiment.model
    channels, targets = experiment.channels, len(experiment.dataset.targets)
    try:
        # without memory, as a stranger's config may declare a network of any size
        with torch.device("meta"):
            network = models.build(spec, channels, targets)
            expected_head = models.heads.build(spec.head, targets)
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise PackageError(
            "is rejected: its config declares an impossibly large network"
        ) from error
    for name, module, weights in ((MODEL, network, model), (HEAD, expected_head, head)):
        expected = _shapes(module.state_dict())
        if wrong := sorted(expected.items() ^ _shapes(weights).items(), key=str):
            raise PackageError(
                f"is damaged: {name} does not fit config.yaml ({wrong[0][0][:80]!r})"
            )


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()}
