"""A trained model opened for new scans: a run's folder, or a package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from softseg.config.experiment import Experiment
from softseg.config.load import validate
from softseg.config.overrides import apply_sets
from softseg.config.yaml.read import parse_yaml, read_yaml
from softseg.config.yaml.tree import ConfigTree
from softseg.core.errors import UserError
from softseg.models.predictor import Predictor
from softseg.runs.build import build_predictor, resolve_hardware
from softseg.runs.checkpoint import read_checkpoint
from softseg.runs.folder import Run
from softseg.runs.thresholds import Threshold, stored_thresholds

_HERE = ("trainer.threads=null", "trainer.compile=false", "dataset.cache=null")
"""What the machine of the training chose for itself."""


@dataclass(frozen=True)
class Model:
    """A network with all that is needed to segment a scan as it was trained to."""

    source: Path
    experiment: Experiment
    predict: Predictor
    thresholds: dict[str, float] | None  # target -> threshold; None: none was searched for
    facts: Mapping[str, Any]  # what is known of its training: epoch, versions, native_zooms_mm

    @property
    def contrasts(self) -> tuple[str, ...]:
        """The input channels, in their order."""
        return self.experiment.dataset.contrasts

    @property
    def targets(self) -> list[str]:
        """What it segments, in the order of its outputs."""
        return list(self.experiment.dataset.targets)

    @property
    def version(self) -> str:
        """Which weights these are, for the files made with them."""
        return f"epoch {self.facts.get('epoch')}, softseg {self.facts.get('softseg', 'unknown')}"


def open_model(source: Path, device: str = "auto") -> Model:
    """Open a run's folder or a package. Raises UserError for anything else."""
    if source.is_file():
        return _of_package(source, device)
    if (source / "ablation.yaml").is_file():
        raise UserError(
            f"{source} is an ablation: name one of its runs, or add --uncertainty ensemble"
        )
    if not (source / "config.yaml").is_file():
        raise UserError(f"{source} is no model: name a run's folder (it has config.yaml) or a "
                        "package that `softseg package` wrote")  # fmt: skip
    return _of_run(Run(source), device)


def _of_run(run: Run, device: str) -> Model:
    experiment = _settled(read_yaml(run.config), device)
    saved = read_checkpoint(run.best)
    facts, epoch = run.metadata(), int(saved["epoch"])
    known = {**facts, "epoch": epoch, "softseg": facts.get("versions", {}).get("softseg")}
    found = stored_thresholds(run, list(experiment.dataset.targets), epoch)
    return _model(run.folder, experiment, saved, found, known)


def _of_package(path: Path, device: str) -> Model:
    from softseg.package import read_package

    package = read_package(path)
    experiment = _settled(parse_yaml(package.config, str(path)), device)
    weights = {"model": package.model, "head": package.head}
    return _model(path, experiment, weights, package.thresholds, package.facts)


def _settled(config: ConfigTree, device: str) -> Experiment:
    tree = apply_sets(config, [*_HERE, f"trainer.device={device}"])
    return resolve_hardware(validate(tree, Experiment))


def _model(
    source: Path,
    experiment: Experiment,
    weights: Mapping[str, dict[str, Tensor]],
    thresholds: dict[str, Threshold] | None,
    facts: Mapping[str, Any],
) -> Model:
    predict = build_predictor(experiment, weights, str(source))
    values = None if thresholds is None else {t: one.value for t, one in thresholds.items()}
    return Model(source, experiment, predict, values, facts)
