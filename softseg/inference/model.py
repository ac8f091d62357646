"""A trained model opened for new scans: a run, a package, or the runs of an ablation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from softseg.augment.mirroring import NOTHING_MIRRORED
from softseg.config.experiment import Experiment
from softseg.config.load import validate
from softseg.config.merge import apply_changes
from softseg.config.yaml.read import parse_yaml, read_yaml
from softseg.config.yaml.tree import ConfigTree
from softseg.core.errors import UserError
from softseg.models.predictor import Predictor
from softseg.preprocess.training_scans import TrainingScans, recorded_training_scans
from softseg.runs.build import build_predictor, load_predictor, resolve_hardware
from softseg.runs.folder import Run
from softseg.runs.plan_file import CONFIG, RunStatus, read_plan
from softseg.runs.recorded_hardware import automatic_changes
from softseg.runs.thresholds import DEFAULT, Threshold, stored_thresholds

_MACHINE_DEFAULTS = ("trainer.threads=null", "trainer.compile=false", "dataset.cache=null")
"""Replace what the training machine chose for itself."""


@dataclass(frozen=True, repr=False)
class Model:
    """A network with everything that is needed to segment a scan as in its training."""

    source: Path
    experiment: Experiment
    predictor: Predictor
    searched: dict[str, Threshold] | None  # target -> threshold; None: there was no search
    metadata: Mapping[str, Any]  # of its run: epoch, versions, training_scans

    def __repr__(self) -> str:
        """One line: what it segments from what, with which loss, weights and device."""
        experiment = self.experiment
        return (
            f"<{experiment.name}: {', '.join(self.contrasts)} -> {', '.join(self.targets)}; "
            f"loss {experiment.loss.name}, head {experiment.model.head.name}, "
            f"epoch {self.metadata.get('epoch')}, {experiment.trainer.device}>"
        )

    @property
    def contrasts(self) -> tuple[str, ...]:
        """The input channels, in their order."""
        return self.experiment.dataset.contrasts

    @property
    def targets(self) -> list[str]:
        """The segmented structures, in the order of the outputs."""
        return list(self.experiment.dataset.targets)

    @cached_property
    def training_scans(self) -> TrainingScans | None:
        """What its training scans looked like; None if that was not recorded."""
        return recorded_training_scans(self.metadata)

    @property
    def thresholds(self) -> dict[str, float] | None:
        """Target -> threshold that the search found; None: there was no search."""
        if self.searched is None:
            return None
        found = {target: threshold.value for target, threshold in self.searched.items()}
        return {target: value for target, value in found.items() if value is not None}

    @property
    def version(self) -> str:
        """The epoch of the weights and the version of softseg, for sidecars."""
        epoch, software = self.metadata.get("epoch"), self.metadata.get("softseg", "unknown")
        return f"epoch {epoch}, softseg {software}"

    def used_thresholds(self, threshold: float | None) -> dict[str, float]:
        """Target -> least soft value of foreground: `threshold`, else the model's, else 0.5."""
        if threshold is None and self.searched is not None:
            return {target: self.searched[target].used for target in self.targets}
        return dict.fromkeys(self.targets, DEFAULT if threshold is None else threshold)


def with_mirroring(model: Model, mirror: bool | None) -> Model:
    """Return the model with test-time mirroring switched on or off; None: as its training says.

    Raises UserError for a network that was trained without mirroring.
    """
    experiment = model.experiment
    if mirror is None or mirror == experiment.evaluate.mirror:
        return model
    if mirror and not experiment.mirroring.axes:
        raise UserError(f"{model.source}: {NOTHING_MIRRORED}; leave out --mirror")
    evaluate = experiment.evaluate.model_copy(update={"mirror": mirror})
    return replace(model, experiment=experiment.model_copy(update={"evaluate": evaluate}))


def open_model(source: Path, device: str = "auto") -> Model:
    """Open a run's folder or a package. Raises UserError for anything else."""
    if source.is_file():
        from softseg.package import read_package

        package = read_package(source)
        experiment = _on_this_machine(parse_yaml(package.config, str(source)), {}, device)
        weights = {"model": package.model, "head": package.head}
        predictor = build_predictor(experiment, weights, str(source))
        return Model(source, experiment, predictor, package.thresholds, package.metadata)
    if (source / CONFIG).is_file():
        raise UserError(
            f"{source} is an ablation folder: name one of its runs, or use "
            "`softseg predict --uncertainty ensemble`"
        )
    run = Run(source)
    if not run.config.is_file():
        raise UserError(
            f"{source} is not a model: name a run's folder (it has config.yaml) or a package that "
            "`softseg package` wrote"
        )
    metadata = run.metadata()
    experiment = _on_this_machine(read_yaml(run.config), metadata, device)
    predictor, epoch = load_predictor(run, experiment)
    thresholds = stored_thresholds(run, list(experiment.dataset.targets), epoch)
    metadata |= {"epoch": epoch, "softseg": metadata.get("versions", {}).get("softseg")}
    return Model(source, experiment, predictor, thresholds, metadata)


def _on_this_machine(config: ConfigTree, metadata: dict[str, Any], device: str) -> Experiment:
    """The experiment of a stored configuration, with this machine's device and threads.

    So are precision and memory format, where the run's `metadata` say that its machine chose them.
    """
    changes = [*automatic_changes(metadata), *_MACHINE_DEFAULTS, f"trainer.device={device}"]
    tree = apply_changes(config, changes)
    return resolve_hardware(validate(tree, Experiment), trained=True)


@dataclass(frozen=True)
class Ensemble:
    """The models of a candidate's finished runs."""

    models: list[Model]
    members: str
    """Which planned runs these are: `2 of 3 planned runs (split-2 is not finished)`."""
    has_problems: bool
    """Whether a planned run is missing or did not converge."""


def open_ensemble(
    folder: Path, candidate: str | None = None, device: str = "auto", allow_missing: bool = False
) -> Ensemble:
    """Open every finished run of a candidate: a network per split, each with its own threshold.

    `candidate` may be None if the ablation has only one. Raises UserError if the folder is not an
    ablation's, if the candidate is ambiguous or unknown, if planned runs are missing (unless
    `allow_missing`), and if fewer than two runs are finished.
    """
    if not (folder / CONFIG).is_file():
        raise UserError(
            f"{folder} is not an ablation folder. --uncertainty ensemble needs one; for a single "
            "model use mc-dropout or tta."
        )
    entries = read_plan(folder)
    candidates = list(dict.fromkeys(entry.candidate for entry in entries))
    if candidate is None and len(candidates) > 1:
        raise UserError(
            f"--uncertainty ensemble: {folder} has the candidates {', '.join(candidates)}; choose "
            "one with --candidate"
        )
    if candidate is not None and candidate not in candidates:
        raise UserError(
            f"--candidate: no candidate `{candidate}`; candidates are {', '.join(candidates)}"
        )
    runs = [entry for entry in entries if entry.candidate == (candidate or candidates[0])]
    finished = [entry for entry in runs if entry.status == "done"]
    members = _describe_members(runs)
    ensemble = f"{folder}: the ensemble of {runs[0].candidate} has {members}"
    if len(finished) < 2:
        raise UserError(f"{ensemble}, but it needs two; run the others with softseg ablate")
    if len(finished) < len(runs) and not allow_missing:
        raise UserError(
            f"{ensemble}; run the others with softseg ablate, or add --allow-missing to predict "
            "without them"
        )
    models = [open_model(entry.run.folder, device) for entry in finished]
    has_problems = not all(entry.status == "done" and entry.converged for entry in runs)
    return Ensemble(models, members, has_problems)


def _describe_members(runs: Sequence[RunStatus]) -> str:
    """`2 of 3 planned runs (split-2 is not finished; split-0 did not converge)`."""
    missing = [
        f"split-{run.split} {'failed' if run.status == 'failed' else 'is not finished'}"
        for run in runs
        if run.status != "done"
    ]
    finished = [run for run in runs if run.status == "done"]
    unconverged = [f"split-{run.split} did not converge" for run in finished if not run.converged]
    reasons = "; ".join([*missing, *unconverged])
    return f"{len(finished)} of {len(runs)} planned runs" + (f" ({reasons})" if reasons else "")
