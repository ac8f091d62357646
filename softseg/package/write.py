"""A trained run packaged into one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from softseg.config.experiment import Experiment
from softseg.config.load import dump, load_config
from softseg.core.component import parse_component
from softseg.core.errors import UserError
from softseg.data import read_split
from softseg.package.about import About, Credits, Thresholds
from softseg.package.archive import looks_packaged, write_archive
from softseg.package.card import card
from softseg.package.entries import (
    ABOUT,
    CARD,
    CONFIG,
    HEAD,
    LARGEST,
    LIMITS,
    MANIFEST,
    MODEL,
    THRESHOLDS,
    RefusedError,
)
from softseg.package.gather import about
from softseg.package.manifest import make_manifest, write_json
from softseg.package.neutral import neutral
from softseg.package.onnx import check_installed
from softseg.package.portable import portable
from softseg.package.read import understood
from softseg.package.weights import write_weights
from softseg.runs.checkpoint import read_checkpoint
from softseg.runs.folder import Run
from softseg.runs.thresholds import Threshold, stored_thresholds

_NOTE = """\
# What this model was trained with. Folders, files, names and the machine are left out: dataset.root
# and the file patterns, split, trainer.device and the like are placeholders.
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
    """Write a run's best weights, and what must be known to use them, into one file.

    With `onnx` also the network as an ONNX graph, and a script that segments a scan with it
    without softseg and torch.

    The same run and words give the same bytes. No folder, file or subject of the data is named in
    it. `console` is told what the package lacks. Returns `path`.

    Raises UserError, and writes nothing, where the file exists already (with `overwrite`: and is
    no package), and for a run that is damaged, without weights, or whose threshold is of another
    epoch than its weights; with `onnx` also without the extra of that name.
    """
    _check_free(path, overwrite)
    if onnx:
        check_installed()
    experiment, saved = load_config(run.config, Experiment), read_checkpoint(run.best)
    epoch = int(saved["epoch"])
    found = _thresholds(run, list(experiment.dataset.targets), epoch)
    credits_ = _credits(license, citation, authors, description)
    known = about(run, experiment, read_split(run.split), epoch, credits_)
    contents = _contents(neutral(experiment), saved, found, known)
    _check_readable(run, contents)
    if onnx:
        contents = _signed(contents | portable(experiment, saved["model"], saved["head"]))
    _check_sizes(run, contents)
    write_archive(path, contents)
    _tell(path, known, found.values() if found else {}, console)
    return path


def _check_free(path: Path, overwrite: bool) -> None:
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file, e.g. {path / 'model.softseg'}")
    if not path.exists():
        return
    if not overwrite:
        raise UserError(f"{path} exists already; add --overwrite, or choose another name")
    if not looks_packaged(path):
        raise UserError(f"{path} is not a softseg package, so --overwrite leaves it alone")


def _thresholds(run: Run, targets: list[str], epoch: int) -> Thresholds | None:
    stored = stored_thresholds(run, targets, epoch)
    try:
        return Thresholds.of({t: stored[t] for t in targets}) if stored else None
    except ValidationError as error:
        message = f"{run.threshold} is damaged; run eval with --threshold-search again"
        raise UserError(message) from error


def _credits(
    license: str | None, citation: str | None, authors: Sequence[str], description: str | None
) -> Credits:
    known = {
        "license": license or None,
        "citation": citation or None,
        "authors": list(authors),
        "description": description or None,
    }
    try:
        return parse_component(TypeAdapter(Credits), known)
    except ValidationError as error:  # half a character, of a command line in another encoding
        raise UserError("license, citation, authors and description must be text") from error


def _contents(
    experiment: Experiment,
    saved: Mapping[str, Any],
    found: Thresholds | None,
    known: About,
) -> dict[str, bytes]:
    """Entry -> bytes, with the manifest over all of them."""
    contents = {
        ABOUT: write_json(known),
        CONFIG: (_NOTE + dump(experiment)).encode(),
        CARD: card(known, experiment, found.values() if found else None).encode(),
        HEAD: write_weights(saved["head"]),
        MODEL: write_weights(saved["model"]),
    }
    if found is not None:
        contents[THRESHOLDS] = write_json(found)
    return _signed(contents)


def _signed(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """The same entries, with a manifest of the others."""
    return {**contents, MANIFEST: write_json(make_manifest(contents))}


def _check_readable(run: Run, contents: Mapping[str, bytes]) -> None:
    """Nothing is written that `read_package` would refuse."""
    try:
        understood(run.folder, contents, make_manifest(contents))
    except RefusedError as error:
        message = f"{run.folder} cannot be packaged: it {error}; train or evaluate it again"
        raise UserError(message) from error


def _check_sizes(run: Run, contents: Mapping[str, bytes]) -> None:
    """Nor what is too large."""
    for name, data in contents.items():
        if len(data) > LIMITS[name]:
            raise UserError(
                f"{run.folder} cannot be packaged: its {name} has more than {LIMITS[name]:,} bytes"
            )
    if sum(map(len, contents.values())) > LARGEST - LIMITS[MANIFEST]:  # room for the zip's own
        raise UserError(
            f"{run.folder} cannot be packaged: it has more than {LARGEST:,} bytes, all together"
        )


def _tell(path: Path, known: About, found: Mapping[str, Threshold], console: Console) -> None:
    """Say what was written, and what those who get it will miss."""
    for warning in _lacks(known, found):
        console.print(f"warning: {warning}", markup=False, highlight=False)
    size = path.stat().st_size / 1e6
    told = f"{path}: {known.name}, {', '.join(known.targets)}, {size:.1f} MB"
    console.print(f"{told}; README.md in it is the model card", markup=False, highlight=False)


def _lacks(known: About, found: Mapping[str, Threshold]) -> Iterator[str]:
    if known.status != "finished":
        yield f"this training is not finished ({known.status}): epoch {known.epoch} is packaged"
    if not found:
        yield "no threshold was searched for: 0.5 will be used (see eval --threshold-search)"
    if not known.scores:
        yield (
            "these weights were not evaluated, or with other postprocessing: the card has no "
            "scores; run eval and package again"
        )
    values = {target: one.value for target, one in found.items()}
    if known.scored_at and known.scored_at != (values or dict.fromkeys(known.targets, 0.5)):
        yield "the scores are of another threshold than the package's; run eval and package again"
    if known.summary.synthetic is None:
        yield "the data are not at hand, so the card cannot say whether they are synthetic"
    if known.license is None:
        yield "no license, so nobody knows whether the model may be used; add --license"
