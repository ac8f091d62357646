"""Scans segmented with a measure of how far the result can be trusted (SoftSeg 4.4.4)."""

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
    Done,
    Options,
    check_crop,
    each,
    facts_of,
    masks_of,
    tell_thresholds,
    thresholds_of,
    write,
)
from softseg.inference.prepared_scan import view_of
from softseg.inference.read_scan import read_scan
from softseg.inference.scans import Scan
from softseg.inference.segment import segment, sized, volume_logits
from softseg.inference.uncertainty.maps import Drawn, Masks, Uncertainty, gather
from softseg.inference.uncertainty.sampling import Logits, Sampling, check, soft_samples
from softseg.inference.uncertainty.structures import Row, score_structures
from softseg.inference.uncertainty.write import write_maps, write_scores
from softseg.metrics.lesions import LesionRules


@dataclass(frozen=True, eq=False)
class Found:
    """What is found of one scan."""

    soft: Float32Array  # (K, X, Y, Z), the prediction
    thresholds: Mapping[str, float]
    uncertainty: Uncertainty
    masks: Masks  # of the samples


def segment_sampled(
    model: Model,
    scans: Sequence[Scan],
    out: Path,
    console: Console,
    options: Options,
    sampling: Sampling,
) -> Done:
    """Segment scans by one network that predicts several times.

    Prediction and mask are those of the deterministic pass, as without uncertainty. Raises
    UserError for a model with nothing to vary.
    """
    check_crop([model], options)
    check(sampling, model.predict, model.experiment.augment, str(model.source))
    facts: dict[str, object] = {
        "Method": sampling.method,
        "Samples": sampling.samples,
        "Seed": sampling.seed,
    }
    if sampling.method == "tta":
        steps = model.experiment.model_dump(mode="json")["augment"]
        facts["Moves"] = [step for step in steps if set(step) & {"affine", "RandomFlip"}]

    def one(scan: Scan) -> list[Path]:
        sample = read_scan(scan, model)
        found = _sampled(model, sample, options, sampling)
        return _write(model, scan, sample, found, out, facts_of(model, options), facts)

    tell_thresholds([model], options, console)
    return each(scans, one, out, model.experiment.name, console)


def segment_ensemble(
    members: Sequence[Model],
    scans: Sequence[Scan],
    out: Path,
    console: Console,
    options: Options,
) -> Done:
    """Segment scans by several networks, each with a preprocessing, scale and threshold of its own.

    The prediction is the mean of theirs, the mask is where it reaches the mean of their thresholds.
    """
    model = members[0]
    check_crop(members, options)
    facts: dict[str, object] = {
        "Method": "ensemble",
        "Samples": len(members),
        "Members": [f"{member.source}, {member.version}" for member in members],
    }
    about = {k: v for k, v in facts_of(model, options).items() if k != "ModelVersion"}

    def one(scan: Scan) -> list[Path]:
        sample = read_scan(scan, model)
        found = _of_members(members, sample, options)
        return _write(model, scan, sample, found, out, about, facts)

    tell_thresholds(members, options, console)
    return each(scans, one, out, model.experiment.name, console)


def _sampled(model: Model, sample: Sample, options: Options, sampling: Sampling) -> Found:
    view = view_of(model.experiment, sample, options.center, options.training_crop)
    predict = sized(model, view, options.batch_size)
    logits = volume_logits(predict.logits, view)
    thresholds = thresholds_of(model, options.threshold)

    def through(logits_of: Logits, image: Tensor) -> Tensor:
        return volume_logits(logits_of, replace(view, image=image))

    augment = model.experiment.augment
    softs = soft_samples(sampling, predict, augment, view.image, logits, through)
    drawn = (_drawn(model, view.to_native(one), thresholds, sample) for one in softs)
    uncertainty, masks = gather(drawn)
    return Found(view.to_native(predict.soft(logits)), thresholds, uncertainty, masks)


def _of_members(members: Sequence[Model], sample: Sample, options: Options) -> Found:
    each_its_own = [thresholds_of(member, options.threshold) for member in members]

    def drawn() -> Iterator[Drawn]:
        for member, thresholds in zip(members, each_its_own, strict=True):
            soft = segment(
                member, sample, options.center, options.training_crop, options.batch_size
            )
            yield _drawn(member, soft, thresholds, sample)

    uncertainty, masks = gather(drawn())
    mean = {
        target: float(np.mean([one[target] for one in each_its_own]))
        for target in members[0].targets
    }
    return Found(uncertainty.mean, mean, uncertainty, masks)


def _drawn(
    model: Model, soft: Float32Array, thresholds: Mapping[str, float], sample: Sample
) -> Drawn:
    return Drawn(soft, masks_of(model, soft, thresholds, sample.grid))


def _write(
    model: Model,
    scan: Scan,
    sample: Sample,
    found: Found,
    out: Path,
    about: Mapping[str, object],
    facts: Mapping[str, object],
) -> list[Path]:
    """Prediction, maps and scores of a scan; returns the NIfTI files."""
    told = {**about, "Uncertainty": dict(facts)}
    written = write(model, scan, sample.grid, found.soft, found.thresholds, out, told)
    source = next(iter(scan.images.values()))
    written += write_maps(out / scan.place, source, model.targets, found.uncertainty, told)
    write_scores(out / "uncertainty.csv", _scores(model, scan, sample, found, facts))
    return written


def _scores(
    model: Model, scan: Scan, sample: Sample, found: Found, facts: Mapping[str, object]
) -> list[Row]:
    """A row a structure of each target."""
    final = masks_of(model, found.soft, found.thresholds, sample.grid)
    rules = model.experiment.evaluate.lesions or LesionRules()
    made = {"method": facts["Method"], "samples": facts["Samples"]}
    return [
        {"scan": str(scan.place / scan.name), "target": target, **row, **made}
        for k, target in enumerate(model.targets)
        for row in score_structures(
            final[k], found.masks, k, found.uncertainty.entropy[k], sample.grid, rules
        )
    ]
