"""What a package records about a run: `about.json`, `thresholds.json`, the anonymous experiment."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pandas as pd
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator

from softseg.config.experiment import Experiment
from softseg.core.component import Component, parse_component
from softseg.core.errors import UserError
from softseg.core.files import naming_file, read_json
from softseg.data import Sets
from softseg.data.loaders.base import Target
from softseg.data.loaders.files import FilesDataset
from softseg.data.raters import Raters
from softseg.data.splits import SETS
from softseg.datasets.phantom import is_phantom
from softseg.metrics.score import Evaluate
from softseg.models.predictor import weights_digest
from softseg.preprocess.slices import Slices
from softseg.preprocess.steps import needs_roi
from softseg.preprocess.training_scans import TrainingScans
from softseg.runs.folder import Run
from softseg.runs.thresholds import Threshold, threshold_key
from softseg.runs.volume_calibration import VolumeCalibration, read_volume_calibration

_RATER_METRIC = "dice_rater_"  # followed by the name of a rater


def _check_printable(text: str) -> str:
    if not text.isprintable():  # a terminal would execute control characters
        raise ValueError("must be printable text")
    return text


Printable = Annotated[str, AfterValidator(_check_printable)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class MetricSummary(Component):
    """One metric over the test scans; mean and std are null where they are undefined."""

    mean: float | None
    std: float | None
    n: Count


class TrainingData(Component):
    """The data of the run, without names or paths."""

    subjects: dict[Literal["train", "validation", "test"], Count]
    """Number of subjects in each set."""
    synthetic: bool | None
    """Whether they are a phantom of softseg; null: unknown, as training did not
    record it and the data were not available."""
    raters: str
    """How the masks of several raters were fused; `one mask per scan` if there are none."""


class ModelMetadata(Component):
    """`about.json`: the metadata of a packaged model; the first four are given by its author."""

    license: str | None = None
    """License of the model, e.g. CC-BY-4.0."""
    citation: str | None = None
    """What to cite."""
    authors: tuple[str, ...] = ()
    """Authors of the model."""
    description: str | None = None
    """Purpose of the model, in a paragraph."""
    name: Printable
    contrasts: tuple[Printable, ...]
    """The input channels, in their order."""
    targets: tuple[Printable, ...]
    """The segmented structures, in the order of the outputs."""
    axes: Literal[2, 3] = 2
    """Spatial axes of the network's input: 2 for slices, 3 for patches of volumes."""
    neighbors: Count = 0
    """Slices before and after each slice that a 2D network sees, too."""
    patch_size: tuple[int, int, int] | None = None
    """Voxels of a patch of a 3D network along right-left, posterior-anterior, inferior-superior;
    null: of a 2D network, or not recorded."""
    needs_roi: bool
    """Whether segmenting a scan needs an ROI mask or the center of a box."""
    epoch: Count
    """The epoch of the weights."""
    status: Annotated[str, Field(max_length=100), AfterValidator(_check_printable)]
    """finished, or how else training ended."""
    created: str | None
    """When training finished; the time of packaging is not recorded."""
    trained_with: dict[str, str]
    """Versions of softseg and of its libraries."""
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    """SHA-256 of the sorted fingerprints of all subjects' data; null: not recorded."""
    summary: TrainingData
    scores: dict[str, dict[str, MetricSummary]]
    """Target -> metric -> its summary over the test set; {}: the model was not evaluated."""
    scored_at: dict[str, Share]
    """Target -> the threshold of those scores."""
    training_scans: TrainingScans | None = None
    """What the training scans looked like; null: not recorded."""
    volume_calibration: VolumeCalibration | None = None
    """Errors of volumes on the validation scans, for intervals; null: softseg measure
    --calibrate was not run with these weights."""


class TargetThreshold(Component):
    """The threshold of one target, and the mean Dice [%] at every threshold of the search.

    No threshold if all have the same Dice: 0.5 is used.
    """

    threshold: Share | None
    curve: dict[str, Annotated[float, Field(ge=0, le=100)]]
    mirrored: bool | None = None
    """Whether the search averaged over mirror images; null: not recorded."""

    @model_validator(mode="after")
    def _check_on_curve(self) -> Self:
        if self.threshold is None:
            if len(set(self.curve.values())) != 1:
                raise ValueError("without a threshold, the curve must be flat")
        elif threshold_key(self.threshold) not in self.curve:
            raise ValueError(f"the curve has no {threshold_key(self.threshold)}")
        return self


class Thresholds(Component):
    """`thresholds.json`."""

    targets: dict[str, TargetThreshold]

    @classmethod
    def of(cls, thresholds: Mapping[str, Threshold]) -> Self:
        """Return the entry for the thresholds of a search."""
        targets = {
            name: TargetThreshold(
                threshold=threshold.value, curve=threshold.curve, mirrored=threshold.mirrored
            )
            for name, threshold in thresholds.items()
        }
        return cls(targets=targets)

    def values(self) -> dict[str, Threshold]:
        """Return the threshold and curve of each target."""
        return {
            name: Threshold(target.threshold, target.curve, target.mirrored)
            for name, target in self.targets.items()
        }


def asks_for_roi(experiment: Experiment) -> bool:
    """Return whether segmenting a scan needs an ROI.

    The slices section does not matter: excluding slices without an ROI concerns training only.
    """
    return needs_roi(experiment.preprocess, Slices())


def collect_metadata(
    run: Run,
    experiment: Experiment,
    sets: Sets,
    checkpoint: Mapping[str, Any],
    attribution: dict[str, Any],
) -> ModelMetadata:
    """Return the metadata of a run's best weights. Raises UserError for damaged files."""
    recorded, dataset, epoch = run.metadata(), experiment.dataset, int(checkpoint["epoch"])
    folder, raters = Path(dataset.root).expanduser(), dataset.raters
    fusion = f"{raters.fusion} of raters{', weighted' if raters.weights else ''}"
    if raters.chosen is not None:
        fusion = "one rater's masks"
    elif not dataset.distinguishes_raters:
        fusion = "one mask per scan"
    synthetic = is_phantom(folder) if folder.is_dir() else None
    # scores of other weights (evaluated, then resumed) or other rules (--set) are left out
    scored = recorded.get("scored_epoch", epoch) == epoch
    scored &= _scored_as(recorded, experiment.evaluate)
    weights = weights_digest(checkpoint["model"], checkpoint["head"])
    errors = read_volume_calibration(run, weights)
    fields = {
        **attribution,
        "name": experiment.name,
        "contrasts": dataset.contrasts,
        "targets": list(dataset.targets),
        "axes": experiment.axes,
        "neighbors": experiment.samples.neighbor_count,
        "patch_size": experiment.patches.size if experiment.axes == 3 else None,
        "needs_roi": asks_for_roi(experiment),
        "epoch": epoch,
        "status": str(recorded.get("status", "unknown")),
        "created": recorded.get("finished"),
        "trained_with": recorded.get("versions", {}),
        "fingerprint": fingerprint(recorded.get("data_fingerprint", {}), sets),
        "summary": {
            "subjects": {name: len(getattr(sets, name)) for name in SETS},
            # runs of older versions have no record of it
            "synthetic": recorded.get("synthetic", synthetic),
            "raters": fusion,
        },
        "scores": _scores(run, list(dataset.targets)) if scored else {},
        "scored_at": _score_thresholds(run) if scored else {},
        "training_scans": recorded.get("training_scans"),
        "volume_calibration": None if errors is None else errors.model_dump(mode="json"),
    }
    try:
        return parse_component(TypeAdapter(ModelMetadata), fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{run.folder} cannot be packaged: {key}: {first['msg']}; correct it, or evaluate or "
            "train the run again"
        ) from error


def _scored_as(recorded: Mapping[str, Any], rules: Evaluate) -> bool:
    """Return whether the scores of run.json are of the masks that these rules make.

    A key that an earlier version did not record counts as equal.
    """
    section = recorded.get("scored_evaluate")
    if not isinstance(section, dict):
        section = {"postprocess": recorded.get("scored_postprocess", rules.steps)}
    section = {**rules.model_dump(mode="json"), **section}
    try:
        scored = parse_component(TypeAdapter(Evaluate), section)
    except ValidationError:
        return False
    of_masks = ("mirror", "postprocess", "remove_small_from_truth")
    return all(getattr(scored, key) == getattr(rules, key) for key in of_masks)


def fingerprint(digests: Mapping[str, str], sets: Sets) -> str | None:
    """Return the SHA-256 of the sorted fingerprints of the sets' subjects; None if one has none.

    Equal files with equal preprocessing have the same fingerprint. Names do not enter it, so that
    they cannot be guessed from it.
    """
    available = sorted(digests[name] for name in sets.members if name in digests)
    if len(available) < len(sets.members):
        return None
    return hashlib.sha256("\n".join(available).encode()).hexdigest()


def _scores(run: Run, targets: list[str]) -> dict[str, Any]:
    """summary.json of the test set, without the metrics that name a rater."""
    path = run.folder / "summary.json"
    try:
        summary = read_json(path)
        return {
            target: {
                metric: {
                    key: None if isinstance(value, float) and not math.isfinite(value) else value
                    for key, value in statistics.items()
                }
                for metric, statistics in summary[target].items()
                if not metric.startswith(_RATER_METRIC)
            }
            for target in targets
        }
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); run eval again") from error


def _score_thresholds(run: Run) -> dict[str, float]:
    """Target -> the threshold with which metrics.csv was computed."""
    path = run.folder / "metrics.csv"
    try:
        with naming_file(path):
            table = pd.read_csv(path, usecols=["target", "threshold"], dtype={"target": str})
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); run eval again") from error
    thresholds = table.groupby("target")["threshold"].first()
    return {str(target): float(value) for target, value in thresholds.items()}


def anonymize(experiment: Experiment) -> Experiment:
    """Return the experiment with placeholders for its files, and with the default split.

    Everything that the network's input and output depend on is kept. Names of folders, files,
    subjects, centers, raters and devices are left out: only the keys listed here are copied, so a
    key that a later version adds cannot leak.
    """
    dataset, raters = experiment.dataset, experiment.dataset.raters
    targets = {
        name: Target(
            values=target.values,
            maximum=target.maximum,
            clip=target.clip,
            round=target.round,
            soften=target.soften,
            label=f"{{subject}}/mask-{name}.nii.gz",
        )
        for name, target in dataset.targets.items()
    }
    placeholder = FilesDataset(
        root="data",
        image="{subject}/image-{contrast}.nii.gz",
        roi="{subject}/roi.nii.gz" if dataset.roi is not None else None,
        contrasts=dataset.contrasts,
        targets=targets,
        raters=Raters(fusion=raters.fusion if raters.chosen is None else "majority"),
        on_grid_mismatch=dataset.on_grid_mismatch,
        fill=dataset.fill,
        cache=None,
    )
    hardware = {
        "device": "auto",
        "threads": None,
        "precision": "float32",  # as in the graph of --onnx; bf16 suited the machine of the run
        "memory_format": "auto",
        "deterministic": False,
    }
    return Experiment(
        name=experiment.name,
        seed=experiment.seed,
        dataset=placeholder,
        preprocess=experiment.preprocess,
        slices=experiment.slices,
        patches=experiment.patches,
        augment=experiment.augment,
        model=experiment.model,
        loss=experiment.loss,
        trainer=experiment.trainer.model_copy(update=hardware),
        evaluate=experiment.evaluate,
    )
