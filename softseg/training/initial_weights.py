"""What `init_from` names, read: the weights of a run or a package, and a training begun there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
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
from softseg.models.blocks import Frozen
from softseg.runs.checkpoint import read_checkpoint
from softseg.runs.folder import Run
from softseg.training.fine_tuning import Fit, take
from softseg.training.state import State


@dataclass(frozen=True)
class Source:
    """Trained weights, on the CPU."""

    path: Path
    model: dict[str, Tensor]
    head: dict[str, Tensor]
    version: str  # which weights these are: `epoch 12`
    block: str  # order of the layers in its blocks, which their names and shapes do not tell
    trained_on: frozenset[str] | None = None  # digests of the scans it learned from, if known

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
class Start:
    """A training that begins with the weights of a source."""

    source: Source
    fit: Fit
    tested: tuple[str, ...] = ()  # test subjects that the source is known to be trained on

    def lines(self) -> list[str]:
        """For the run's header: where from, and every layer that did not fit."""
        count = len(self.fit.taken)
        warnings = _text(self.fit)
        if self.source.trained_on is None:
            warnings.append(
                f"{self.source.path} does not tell which scans it was trained on; see that none of "
                "the test set is among them"
            )
        if self.tested:
            warnings.append(
                f"the source was trained on {', '.join(self.tested)} of the test set: its scores "
                "will be too good"
            )
        return [
            f"start     from {self.source.path}, {self.source.version}: {count} layers taken",
            *(f"warning   {text}" for text in warnings),
        ]

    def facts(self) -> dict[str, Any]:
        """For run.json."""
        known = self.source.trained_on
        return {
            "source": str(self.source.path),
            "version": self.source.version,
            "sha256": self.source.sha256,
            "layers_taken": len(self.fit.taken),
            "layers_that_did_not_fit": [asdict(misfit) for misfit in self.fit.misfits],
            "test_subjects_it_was_trained_on": None if known is None else list(self.tested),
            "trained_on": None if known is None else sorted(known),
        }


def source_of(experiment: Experiment, run: Run, resume: bool) -> Source | None:
    """The weights that a run is to begin with; None where none are named, or it goes on.

    Raises UserError where there are none, or others than this run began with before it was killed.
    """
    wanted = experiment.init_from
    if wanted is None or (resume and run.last.exists()):
        return None
    path = Path(wanted.model)
    if path.resolve() == run.folder.resolve():
        raise UserError(f"init_from: {path} is this run's own folder; choose another --out")
    source = weights_of(path)
    if source.block != experiment.model.block:
        raise UserError(
            f"init_from: the blocks of {path} are {source.block}, those of this network "
            f"{experiment.model.block}: set model.block to {source.block}"
        )
    began = run.metadata().get("init_from", {}).get("sha256") if resume else None
    if began not in (None, source.sha256):
        raise UserError(
            f"the weights in {path} are not those that {run.folder} began with; restore them, or "
            "start over with --overwrite"
        )
    return source


def weights_of(source: Path) -> Source:
    """Read the weights of a run's best epoch, or of a `.softseg` package.

    Raises UserError for what is neither, and for weights that are missing or damaged.
    """
    if Run(source).config.is_file():
        return _of_run(Run(source))
    if not source.is_file():
        raise UserError(
            f"init_from: {source} is neither a run's folder nor a .softseg package; it is relative "
            f"to the working directory, {Path.cwd()}"
        )
    from softseg.package import read_package

    package = read_package(source)
    version = f"{package.facts['name']}, {_epoch(package.facts)}"
    block = validate(parse_yaml(package.config, str(source)), Experiment).model.block
    return Source(source, package.model, package.head, version, block)


def _of_run(run: Run) -> Source:
    saved = read_checkpoint(run.best)
    version = _epoch({**run.metadata(), "epoch": saved["epoch"]})
    block = load_config(run.config, Experiment).model.block
    return Source(run.folder, saved["model"], saved["head"], version, block, _trained_on(run))


def _epoch(facts: Mapping[str, Any]) -> str:
    """`epoch 12`, and how the training ended where it did not finish."""
    status = facts.get("status", "unknown")
    return f"epoch {facts['epoch']}{'' if status == 'finished' else f' ({status})'}"


def _trained_on(run: Run) -> frozenset[str] | None:
    """Digests of the scans that a run's weights have learned from or were chosen by.

    Those of its own source are among them. None where an older version has not written them down.
    """
    facts = run.metadata()
    known, inherited = facts.get("image_digests"), facts.get("init_from", {}).get("trained_on", [])
    if known is None or inherited is None or not run.split.is_file():
        return None
    sets = read_split(run.split)
    own = (digest for name in (*sets.train, *sets.validation) for digest in known.get(name, ()))
    return frozenset((*own, *inherited))


def begin(state: State, source: Source | None, tested: Mapping[str, Sequence[str]]) -> Start | None:
    """Lay a source's weights into a training that has not begun.

    `tested`: the digests of each test subject's images. Raises UserError where no layer fits, or a
    frozen one does not.
    """
    if source is None:
        return None
    fit = take(state.model, source.model)
    if not fit.taken:
        raise combined_error(f"init_from: no layer of {source.path} fits this network", _text(fit))
    _check_frozen(state.model, fit)
    head = take(state.head, source.head)
    fresh = [one for one in head.misfits if one.here is not None]
    misfits = (*fit.misfits, *(replace(one, layer=f"head.{one.layer}") for one in fresh))
    both = Fit(fit.taken, misfits)
    known = source.trained_on or frozenset()
    return Start(source, both, tuple(n for n, one in tested.items() if known.intersection(one)))


def _check_frozen(network: nn.Module, fit: Fit) -> None:
    """Refuse frozen blocks that would keep the random weights they were initialized with."""
    blocks = [name for name, part in network.named_modules() if isinstance(part, Frozen)]
    fresh = {misfit.layer: str(misfit) for misfit in fit.misfits if misfit.here is not None}
    random = [text for name, text in fresh.items() if name.rpartition(".")[0] in blocks]
    if random:
        raise combined_error(
            "init_from.frozen_blocks: freeze fewer, as these would never learn", random
        )


def _text(fit: Fit) -> list[str]:
    return [str(misfit) for misfit in fit.misfits]
