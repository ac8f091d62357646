"""Package a trained run into one file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from pydantic import ValidationError
from rich.console import Console
from torch import Tensor

from softseg.config.experiment import Experiment
from softseg.config.load import dump, load_config
from softseg.core.errors import UserError
from softseg.core.files import check_writable
from softseg.data import read_split
from softseg.package.archive import (
    ABOUT,
    CARD,
    CONFIG,
    HEAD,
    LARGEST,
    LIMITS,
    MANIFEST,
    MODEL,
    THRESHOLDS,
    PackageError,
    has_package_header,
    json_entry,
    make_manifest,
    write_archive,
)
from softseg.package.card import model_card
from softseg.package.metadata import ModelMetadata, Thresholds, anonymize, collect_metadata
from softseg.package.onnx import check_installed, onnx_entries
from softseg.package.read import parse_package
from softseg.runs.checkpoint import read_checkpoint
from softseg.runs.folder import Run
from softseg.runs.thresholds import Threshold, stored_thresholds, threshold_notices

_NOTE = """\
# The configuration that this model was trained with. Paths, names of subjects and the machine are
# replaced by placeholders, for example in dataset.root, split and trainer.device.
"""


def write_package(
    run: Run,
    path: Path,
    console: Console,
    *,
    license: str | None = None,
    citation: str | None = None,
    authors: Sequence[str] = (),
    description: str | None = None,
    overwrite: bool = False,
    onnx: bool = False,
) -> Path:
    """Write a run's best weights and their metadata into one file; returns `path`.

    With `onnx`, the package also holds the network as an ONNX graph and a script that segments a
    scan with it, without softseg and torch.

    The same run and arguments give the same bytes. The package names no folder, file or subject of
    the data. A warning is printed for everything that the package lacks.

    Raises UserError, and writes nothing, if the file exists (with `overwrite`: if it is not a
    package), if the run is damaged or has no weights, if its threshold is of another epoch than its
    weights, and with `onnx` if the extra of that name is not installed.
    """
    _check_destination(path, overwrite)
    check_writable(path.parent)
    if onnx:
        check_installed()
    experiment, checkpoint = load_config(run.config, Experiment), read_checkpoint(run.best)
    epoch = int(checkpoint["epoch"])
    entry = _thresholds(run, list(experiment.dataset.targets), epoch)
    thresholds = entry.values() if entry else {}
    attribution = {  # empty text counts as missing
        "license": license or None,
        "citation": citation or None,
        "authors": list(authors),
        "description": description or None,
    }
    try:
        json.dumps(attribution, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:  # of a command line in another encoding
        raise UserError(
            "--license, --citation, --author and --description must be valid Unicode text"
        ) from error
    metadata = collect_metadata(run, experiment, read_split(run.split), checkpoint, attribution)
    anonymous = anonymize(experiment)
    contents = {
        ABOUT: json_entry(metadata),
        CONFIG: (_NOTE + dump(anonymous)).encode(),
        CARD: model_card(metadata, anonymous, thresholds).encode(),
        HEAD: _weights_entry(checkpoint["head"]),
        MODEL: _weights_entry(checkpoint["model"]),
    }
    if entry is not None:
        contents[THRESHOLDS] = json_entry(entry)
    try:
        parse_package(run.folder, contents, make_manifest(contents))  # as `read_package` will
    except PackageError as error:
        message = f"{run.folder} cannot be packaged: it {error}; train or evaluate the run again"
        raise UserError(message) from error
    if onnx:
        contents |= onnx_entries(experiment, checkpoint["model"], checkpoint["head"])
    contents[MANIFEST] = json_entry(make_manifest(contents))
    _check_sizes(run, contents)
    write_archive(path, contents)
    for warning in _warnings(metadata, thresholds, experiment.evaluate.mirror):
        console.print(f"warning: {warning}", markup=False, highlight=False)
    size = path.stat().st_size / 1e6
    summary = f"{path}: {metadata.name}, {', '.join(metadata.targets)}, {size:.1f} MB"
    console.print(f"{summary}; README.md in it is the model card", markup=False, highlight=False)
    return path


def _check_destination(path: Path, overwrite: bool) -> None:
    """Raise UserError unless a package may be written to `path`."""
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}; create it first")
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file, e.g. {path / 'model.softseg'}")
    if not path.exists():
        return
    if not overwrite:
        raise UserError(f"{path} exists already; add --overwrite, or choose another name")
    if not has_package_header(path):
        raise UserError(f"{path} is not a softseg package, so --overwrite does not replace it")


def _thresholds(run: Run, targets: list[str], epoch: int) -> Thresholds | None:
    """The thresholds that a search stored in the run; None if there was no search."""
    stored = stored_thresholds(run, targets, epoch)
    try:
        return Thresholds.of({target: stored[target] for target in targets}) if stored else None
    except ValidationError as error:
        message = f"{run.threshold} is damaged; run eval with --threshold-search again"
        raise UserError(message) from error


def _weights_entry(weights: Mapping[str, Tensor]) -> bytes:
    """A module's state as safetensors; equal values give equal bytes."""
    # convolutions may be channels-last in memory, which is not part of their value
    layout = torch.contiguous_format
    plain = {
        name: tensor.detach().cpu().clone(memory_format=layout) for name, tensor in weights.items()
    }
    return safetensors.torch.save(plain)


def _check_sizes(run: Run, contents: Mapping[str, bytes]) -> None:
    """Raise UserError if an entry or the whole package is too large to be read."""
    for name, data in contents.items():
        if len(data) > LIMITS[name]:
            raise UserError(
                f"{run.folder} cannot be packaged: its {name} has more than {LIMITS[name]:,} bytes"
            )
    if sum(map(len, contents.values())) > LARGEST - LIMITS[MANIFEST]:  # the zip needs some, too
        raise UserError(
            f"{run.folder} cannot be packaged: it has more than {LARGEST:,} bytes in total"
        )


def _warnings(
    metadata: ModelMetadata, thresholds: Mapping[str, Threshold], mirror: bool
) -> Iterator[str]:
    """Yield what the users of the package will miss."""
    if metadata.status != "finished":
        yield f"training is not finished ({metadata.status}); epoch {metadata.epoch} is packaged"
    yield from threshold_notices(thresholds or None, metadata.targets, mirror)
    if not metadata.scores:
        yield (
            "these weights were not evaluated with these rules (evaluate), so the model card has "
            "no scores; run softseg eval, then package again"
        )
    used = {target: threshold.used for target, threshold in thresholds.items()}
    used = used or dict.fromkeys(metadata.targets, 0.5)
    if metadata.scored_at and metadata.scored_at != used:
        yield "the scores are those of another threshold than the package's; run eval, then package"
    if metadata.summary.synthetic is None:
        yield "the training data are missing, so the card cannot state whether they are synthetic"
    if metadata.license is None:
        yield "without a license, nobody knows whether they may use the model; add --license"
