"""Segment scans together with the uncertainty of the result (SoftSeg 4.4.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from torch import Tensor

from softseg.core.types import Float32Array
from softseg.data.sample import Sample
from softseg.inference.model import Model
from softseg.inference.predict import (
    Options,
    Result,
    check_crop,
    for_each_scan,
    masks_of,
    report_default_threshold,
    sidecar_metadata,
    thresholds_of,
    write_scan,
)
from softseg.inference.prepared_scan import prepare_scan
from softseg.inference.read_scan import read_scan
from softseg.inference.scans import Scan
from softseg.inference.segment import LogitsFunction, segment, sized_predictor, volume_logits
from softseg.inference.uncertainty.maps import (
    Prediction,
    SampleMasks,
    Uncertainty,
    collect_samples,
)
from softseg.inference.uncertainty.sampling import Sampling, check_varies, soft_samples
from softseg.inference.uncertainty.structures import score_structures
from softseg.inference.uncertainty.write import write_maps, write_scores
from softseg.metrics.lesions import LesionRules


@dataclass(frozen=True, eq=False)
class UncertainPrediction:
    """The prediction of one scan and the summary of its samples."""

    soft: Float32Array  # (K, X, Y, Z)
    thresholds: Mapping[str, float]
    uncertainty: Uncertainty
    masks: SampleMasks


def predict_with_sampling(
    model: Model,
    scans: Sequence[Scan],
    out: Path,
    console: Console,
    options: Options,
    sampling: Sampling,
) -> Result:
    """Segment scans by one network that predicts several times.

    Prediction and mask are those of the deterministic pass, as without uncertainty. Raises
    UserError for a model with nothing to vary.
    """
    check_crop([model], options)
    check_varies(sampling, model.predict, model.experiment.augment, str(model.source))
    method: dict[str, object] = {
        "Method": sampling.method,
        "Samples": sampling.samples,
        "Seed": sampling.seed,
    }
    if sampling.method == "tta":
        steps = model.experiment.model_dump(mode="json")["augment"]
        method["Moves"] = [step for step in steps if set(step) & {"affine", "RandomFlip"}]
    metadata = {**sidecar_metadata(model, options), "Uncertainty": method}

    def predict_scan(scan: Scan) -> list[Path]:
        sample = read_scan(scan, model)
        prediction = _predict_by_sampling(model, sample, options, sampling)
        return _write(model, scan, sample, prediction, out, metadata)

    report_default_threshold([model], options, console)
    return for_each_scan(scans, predict_scan, out, model.experiment.name, console)


def predict_with_ensemble(
    members: Sequence[Model],
    scans: Sequence[Scan],
    out: Path,
    console: Console,
    options: Options,
) -> Result:
    """Segment scans by several networks, each with its own preprocessing, scale and threshold.

    The soft prediction is the mean of theirs, and the mask is where it reaches the mean of their
    thresholds.
    """
    model = members[0]
    check_crop(members, options)
    metadata = sidecar_metadata(model, options)
    del metadata["ModelVersion"]
    metadata["Uncertainty"] = {
        "Method": "ensemble",
        "Samples": len(members),
        "Members": [f"{member.source}, {member.version}" for member in members],
    }

    def predict_scan(scan: Scan) -> list[Path]:
        sample = read_scan(scan, model)
        prediction = _predict_by_members(members, sample, options)
        return _write(model, scan, sample, prediction, out, metadata)

    report_default_threshold(members, options, console)
    return for_each_scan(scans, predict_scan, out, model.experiment.name, console)


def _predict_by_sampling(
    model: Model, sample: Sample, options: Options, sampling: Sampling
) -> UncertainPrediction:
    """The deterministic prediction of a scan, with samples of the same network."""
    prepared = prepare_scan(model.experiment, sample, options.center, options.training_crop)
    predict = sized_predictor(model, prepared, options.batch_size)
    logits = volume_logits(predict.logits, prepared)
    thresholds = thresholds_of(model, options.threshold)

    def forward(logits_of: LogitsFunction, image: Tensor) -> Tensor:
        return volume_logits(logits_of, replace(prepared, image=image))

    def samples() -> Iterator[Prediction]:
        augment = model.experiment.augment
        for soft in soft_samples(sampling, predict, augment, prepared.image, logits, forward):
            native = prepared.to_native(soft)
            yield Prediction(native, masks_of(model, native, thresholds, sample.grid))

    uncertainty, masks = collect_samples(samples())
    soft = prepared.to_native(predict.soft(logits))
    return UncertainPrediction(soft, thresholds, uncertainty, masks)


def _predict_by_members(
    members: Sequence[Model], sample: Sample, options: Options
) -> UncertainPrediction:
    """The mean prediction of a scan over the members of an ensemble."""
    thresholds = [thresholds_of(member, options.threshold) for member in members]

    def samples() -> Iterator[Prediction]:
        for member, own in zip(members, thresholds, strict=True):
            soft = segment(
                member, sample, options.center, options.training_crop, options.batch_size
            )
            yield Prediction(soft, masks_of(member, soft, own, sample.grid))

    uncertainty, masks = collect_samples(samples())
    mean_thresholds = {
        target: float(np.mean([own[target] for own in thresholds])) for target in members[0].targets
    }
    return UncertainPrediction(uncertainty.mean, mean_thresholds, uncertainty, masks)


def _write(
    model: Model,
    scan: Scan,
    sample: Sample,
    prediction: UncertainPrediction,
    out: Path,
    metadata: Mapping[str, object],
) -> list[Path]:
    """Write prediction, maps and scores of a scan; return the NIfTI files."""
    soft, thresholds, uncertainty = prediction.soft, prediction.thresholds, prediction.uncertainty
    written = write_scan(model, scan, sample.grid, soft, thresholds, out, metadata)
    folder = out / scan.subfolder
    written += write_maps(folder, scan.first_image, model.targets, uncertainty, metadata)
    final = masks_of(model, soft, thresholds, sample.grid)
    rules = model.experiment.evaluate.lesions or LesionRules()
    method = metadata["Uncertainty"]
    assert isinstance(method, dict)
    rows = [
        {
            "scan": str(scan.subfolder / scan.name),
            "target": target,
            **row,
            "method": method["Method"],
            "samples": method["Samples"],
        }
        for k, target in enumerate(model.targets)
        for row in score_structures(
            final[k], prediction.masks, k, uncertainty.entropy[k], sample.grid, rules
        )
    ]
    write_scores(out / "uncertainty.csv", rows)
    return written
