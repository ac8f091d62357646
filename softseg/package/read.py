"""A package read: every byte of it judged as a stranger's."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from softseg.config.experiment import Experiment
from softseg.config.load import dump, validate
from softseg.config.yaml.read import parse_yaml
from softseg.core.errors import UserError
from softseg.core.version import __version__
from softseg.package.about import About, Thresholds
from softseg.package.archive import check_entries, opened, read_entry
from softseg.package.entries import (
    ABOUT,
    CARD,
    CONFIG,
    HEAD,
    LIMITS,
    MANIFEST,
    MODEL,
    OPTIONAL,
    RENEW,
    THRESHOLDS,
    RefusedError,
)
from softseg.package.manifest import Manifest, check_sums, read_json, read_manifest
from softseg.package.neutral import neutral
from softseg.package.weights import check_fit, read_weights
from softseg.preprocess import Slices
from softseg.preprocess.geometry import needs_roi
from softseg.runs.thresholds import Threshold


@dataclass(frozen=True, eq=False)
class Package:
    """A model with all that is needed to segment a scan as it was trained to."""

    path: Path
    config: str  # YAML of an Experiment; names no folder, file or device of anybody
    model: dict[str, Tensor]  # name -> weight on the CPU, finite, fits the config's network
    head: dict[str, Tensor]
    thresholds: dict[str, Threshold] | None  # of every target; None: none was searched for
    facts: dict[str, Any]  # about.json, and the manifest's `format` and `softseg`
    card: str  # Markdown


def read_package(path: Path) -> Package:
    """Read a package into memory; nothing of it is written, run or unpickled.

    Raises UserError, saying what is wrong and what to do, for a file that is not there or no
    package, a package of a newer format, and every damage.
    """
    try:
        with opened(path) as archive:
            manifest = read_manifest(read_entry(archive, MANIFEST))
            check_entries(archive)
            contents = {name: read_entry(archive, name) for name in archive.namelist()}
        check_sums(manifest, contents)
        return understood(path, contents, manifest)
    except RefusedError as error:
        raise UserError(f"{path} {error}; {error.advice}") from error
    except FileNotFoundError:
        raise UserError(f"{path}: no such package") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def understood(path: Path, contents: Mapping[str, bytes], manifest: Manifest) -> Package:
    """The package of these entries. Raises RefusedError where one is not what it should be."""
    for name in LIMITS:
        if name not in contents and name not in OPTIONAL:
            raise RefusedError(f"lacks {name}")
    experiment = _experiment(contents[CONFIG], manifest.softseg)
    about = read_json(About, ABOUT, contents[ABOUT])
    _check_agreement(about, experiment)
    model, head = (read_weights(name, contents[name]) for name in (MODEL, HEAD))
    check_fit(experiment, model, head)
    thresholds = _thresholds(contents.get(THRESHOLDS), experiment)
    written = {"format": manifest.format, "softseg": manifest.softseg}
    facts = {**about.model_dump(mode="json"), **written}
    card = _text(CARD, contents[CARD])
    return Package(path, dump(experiment), model, head, thresholds, facts, card)


def _experiment(data: bytes, writer: str) -> Experiment:
    """Neutral whatever it says: a stranger's config must not name files of this machine."""
    try:
        return neutral(validate(parse_yaml(_text(CONFIG, data), CONFIG, first_line=1), Experiment))
    except UserError as error:
        shown = textwrap.shorten(str(error), 400)
        message = f"holds a config.yaml that this softseg ({__version__}) does not take ({shown})"
        raise RefusedError(message, f"install softseg {writer} or newer, or {RENEW}") from error


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedError(f"is damaged: {name} is not UTF-8 text") from error


def _check_agreement(about: About, experiment: Experiment) -> None:
    dataset = experiment.dataset
    said = (about.name, about.contrasts, about.targets, about.needs_roi)
    roi = asks_for_roi(experiment)
    if said != (experiment.name, dataset.contrasts, tuple(dataset.targets), roi):
        raise RefusedError("is damaged: about.json and config.yaml are of different models")


def asks_for_roi(experiment: Experiment) -> bool:
    """Whether a scan needs an ROI to be segmented; slices without one are left out in training."""
    return needs_roi(experiment.preprocess, Slices())


def _thresholds(data: bytes | None, experiment: Experiment) -> dict[str, Threshold] | None:
    if data is None:
        return None
    found = read_json(Thresholds, THRESHOLDS, data).values()
    if list(found) != list(experiment.dataset.targets):
        raise RefusedError("is damaged: thresholds.json has other targets than config.yaml")
    return found
