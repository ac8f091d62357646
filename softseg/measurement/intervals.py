"""Intervals for volumes and areas, calibrated on the validation scans of the model (conformal)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from rich.console import Console

from softseg.core.component import parse_component
from softseg.core.errors import UserError, combined_error
from softseg.core.files import check_writable
from softseg.core.memory import memory_errors
from softseg.core.names import unknown_name
from softseg.core.types import Float32Array
from softseg.data import read_split
from softseg.data.nifti.grid import Grid
from softseg.evaluation.opened_run import EVALUATION_MEMORY, open_run, track_volumes
from softseg.evaluation.threshold_search import thresholds_of
from softseg.inference.model import Model
from softseg.inference.segment import postprocessed, segment
from softseg.measurement.scan_measures import slice_areas
from softseg.metrics import without_ignored
from softseg.metrics.conformal import conformal_margin, required_scans
from softseg.metrics.overlap import volume_ml
from softseg.package import read_package
from softseg.runs.folder import Run, find_run
from softseg.runs.volume_calibration import (
    AXES,
    KINDS,
    Axis,
    ByKind,
    Kind,
    TargetErrors,
    VolumeCalibration,
    write_volume_calibration,
)

ScanErrors = dict[tuple[str, Kind], float]
"""("volume" or an axis, kind) -> the absolute error in ml, or the largest of the slices in mm²."""
_DIGITS = 6  # significant ones of a stored error


@dataclass(frozen=True)
class Margins:
    """How far the truth may be from each measure of one target, with the chosen probability."""

    threshold: float
    volume_ml: dict[Kind, float]
    area_mm2: dict[Kind, float]


@dataclass(frozen=True)
class Calibration:
    """A model's errors on its validation scans, and the images that its run has learned from."""

    source: Path
    errors: VolumeCalibration
    learned: frozenset[Path] = frozenset()
    """Images of the training and validation scans; empty for a package, which names none."""

    def margins(self, axis: Axis, level: float) -> dict[str, Margins]:
        """Return the margins of each target. Raises UserError for too few validation scans."""
        _check_count(self.source, self.errors.scans, level)
        return {
            target: Margins(
                errors.threshold,
                {kind: conformal_margin(errors.volume_ml[kind], level) for kind in KINDS},
                {kind: conformal_margin(errors.area_mm2[axis][kind], level) for kind in KINDS},
            )
            for target, errors in self.errors.targets.items()
        }


def _check_count(source: Path, scans: int, level: float) -> None:
    """Raise UserError for fewer validation scans than intervals of this level need."""
    if scans < (required := required_scans(level)):
        raise UserError(
            f"{source}: has {scans} validation scan(s), but intervals of {100 * level:g} % need at "
            f"least {required}; train with more validation scans, lower --level, or leave out "
            "--calibrate"
        )


def open_calibration(
    source: Path, console: Console, level: float = 0.9, changes: Sequence[str] = ()
) -> Calibration:
    """Return the calibration of a run, which is computed and stored in it, or of a package.

    `changes` are `key=value` changes of the run's configuration. Raises UserError for anything
    else, for a package without calibration, and for too few validation scans for this level.
    """
    if not source.is_file():
        run = find_run(str(source))
        _check_count(source, len(read_split(run.split).validation), level)
        return calibrate(run, console, changes)
    if changes:
        raise UserError(f"{source} is a package: --set and --device are for a run's folder")
    recorded = read_package(source).metadata.get("volume_calibration")
    if recorded is None:
        raise UserError(
            f"{source} has no calibration of volumes; run softseg measure with --calibrate and its "
            "run's folder, then package the run again"
        )
    return Calibration(source, parse_component(TypeAdapter(VolumeCalibration), recorded))


@memory_errors(*EVALUATION_MEMORY)
def calibrate(run: Run, console: Console, changes: Sequence[str] = ()) -> Calibration:
    """Segment the validation scans of a run as `predict` does; store their errors in its folder.

    The true volume is the sum of the soft truth, for the soft map and for the mask. Voxels of
    unknown truth do not count. Raises UserError for a run that cannot be evaluated.
    """
    check_writable(run.folder)
    opened = open_run(run, console, ("validation",), changes)
    thresholds = thresholds_of(opened, None, console)
    model = Model(run.folder, opened.experiment, opened.predictor, None, run.metadata())
    errors: dict[str, list[ScanErrors]] = defaultdict(list)
    for volume in track_volumes(opened, opened.sets.validation, "calibrating", console):
        sample = opened.load_sample(volume)
        soft, masks = postprocessed(model, segment(model, sample), thresholds, sample.grid)
        for k, target in enumerate(opened.targets):
            ignore, arrays = sample.ignored(k), (soft[k], masks[k].astype(np.float32))
            predicted = [without_ignored(values, ignore) for values in arrays]
            truth = without_ignored(sample.target[k], ignore)
            errors[target].append(_scan_errors(predicted, truth, sample.grid))
    calibration = VolumeCalibration(
        model=opened.experiment.name,
        weights=opened.predictor.weights_digest,
        mirror=opened.experiment.evaluate.mirror,
        postprocess=tuple(opened.experiment.evaluate.steps),
        targets={name: _target_errors(scans, thresholds[name]) for name, scans in errors.items()},
    )
    write_volume_calibration(run, calibration, opened.sets.validation)
    learned = {*opened.sets.train, *opened.sets.validation}
    subjects = [subject for subject in opened.experiment.dataset() if subject.name in learned]
    images = frozenset(subject.first_image.resolve() for subject in subjects)
    return Calibration(run.folder, calibration, images)


def _scan_errors(predicted: Sequence[Float32Array], truth: Float32Array, grid: Grid) -> ScanErrors:
    """Return the errors of a soft map and a mask (X, Y, Z), in the order of KINDS."""
    errors: ScanErrors = {}
    for kind, values in zip(KINDS, predicted, strict=True):
        errors["volume", kind] = abs(
            volume_ml(values, grid.voxel_ml) - volume_ml(truth, grid.voxel_ml)
        )
        for name, axis in AXES.items():
            gap = slice_areas(values, grid, axis) - slice_areas(truth, grid, axis)
            errors[name, kind] = float(np.abs(gap).max())
    return errors


def _target_errors(scans: Sequence[ScanErrors], threshold: float) -> TargetErrors:
    """Return the errors of one target in all scans."""

    def ordered(name: str) -> ByKind:
        return {
            kind: tuple(sorted(float(f"{scan[name, kind]:.{_DIGITS}g}") for scan in scans))
            for kind in KINDS
        }

    areas = {name: ordered(name) for name in AXES}
    return TargetErrors(threshold=threshold, volume_ml=ordered("volume"), area_mm2=areas)


def check_same_model(
    sidecars: Mapping[Path, Mapping[str, Any]],
    targets: Mapping[Path, str],
    calibration: Calibration,
) -> None:
    """Raise UserError if masks are not those of the calibrated model, made in the same way.

    `sidecars` and `targets` are of each mask; one without a sidecar is not checked.
    """
    problems = []
    for path, sidecar in sidecars.items():
        target, errors = targets[path], calibration.errors
        expected = errors.targets.get(target)
        model, threshold = sidecar.get("Model", errors.model), sidecar.get("Threshold")
        if expected is None:
            problems.append(f"{path}: {unknown_name('target', target, errors.targets)}")
        elif model != errors.model:
            problems.append(f"{path}: was segmented by {model}")
        elif _is_of_ensemble(sidecar):
            problems.append(f"{path}: is of an ensemble, which has other errors than one model")
        elif sidecar.get("Weights", errors.weights) != errors.weights:
            problems.append(
                f"{path}: was segmented by other weights of {model}, such as those of another "
                "split or of an earlier training"
            )
        elif threshold is not None and threshold != expected.threshold:
            problems.append(f"{path}: has threshold {threshold}, not {expected.threshold:g}")
        elif "Model" in sidecar and sidecar.get("Postprocessing", []) != [*errors.postprocess]:
            problems.append(f"{path}: was postprocessed in another way than the validation scans")
        elif "Model" in sidecar and sidecar.get("Mirrored", False) != errors.mirror:
            how = "with" if sidecar.get("Mirrored") else "without"
            problems.append(f"{path}: was made {how} mirroring, unlike the validation scans")
    if problems:
        raise combined_error(
            f"{calibration.source} ({calibration.errors.model}) has no intervals for these "
            "segmentations; segment the scans with this model and without --threshold or other "
            "postprocessing, name their own model, or leave out --calibrate:",
            problems,
        )


def _is_of_ensemble(sidecar: Mapping[str, Any]) -> bool:
    """Return whether a mask is of the mean of several models."""
    uncertainty = sidecar.get("Uncertainty")
    return isinstance(uncertainty, dict) and uncertainty.get("Method") == "ensemble"
