"""The `evaluate:` section of a YAML file: from one soft prediction of a target to its scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field, field_validator

from softseg.core.component import Component, check_distinct
from softseg.core.types import BoolArray, Float32Array
from softseg.metrics import TRUTH_THRESHOLD, binarize, without_ignored
from softseg.metrics.agreement import agreement
from softseg.metrics.calibration import (
    MARGIN_MM,
    ReliabilityBins,
    region,
    reliability,
    score_calibration,
)
from softseg.metrics.challenges import qubiq_score, score_curvas
from softseg.metrics.lesions import LesionRules, SmallObjects, score_lesions
from softseg.metrics.overlap import dice, score_overlap_and_volume, specificity, volume_ml
from softseg.metrics.postprocess import PostprocessStep, Voxels, postprocess
from softseg.metrics.surface import score_surface, soft_assd
from softseg.metrics.volume_bias import score_volume_bias


class Metrics(Component):
    """Optional metrics. Overlap, volume and soft error are always computed.

    Example: `metrics: {surface_tolerance_mm: 2, calibration_margin_mm: null}`
    """

    surface_tolerance_mm: Annotated[float, Field(ge=0)] | None = None
    """Compute surface distances: hd95_mm, assd_mm, and surface_dice at this tolerance in mm;
    null: do not."""
    calibration_margin_mm: Annotated[float, Field(ge=0)] | None = MARGIN_MM
    """Largest distance to the truth, in mm, at which voxels count for ece, ace, brier and the
    reliability diagram; null: do not compute them."""
    group_by: str | None = None
    """Column of the subjects by which the report groups Dice and the volume bias, and shows one
    example each; null: center, site or institution, whichever the subjects have, or else the
    column of `split.by`."""
    raters: bool = True
    """Where a target has several raters: Dice with each, Dice between them, and the generalized
    energy distance."""
    specificity: bool = False
    """Compute `specificity`, the percentage of the background that is predicted as such: near 100
    for any small structure, so off by default."""
    dice_thresholds: tuple[Annotated[float, Field(ge=0, le=1)], ...] = ()
    """Further thresholds of the soft prediction: [0.3, 0.7] adds its Dice with the truth at 0.5 in
    dice_at_0.3 and dice_at_0.7. []: none."""
    qubiq: bool = False
    """Compute `qubiq`, the Dice of soft prediction and soft truth at the same threshold, averaged
    over 0.1, 0.2, ..., 0.9, in percent, as the challenge QUBIQ does; for a truth that is soft, such
    as the mean of raters (`raters.fusion: mean`)."""
    curvas: bool = False
    """Where a target has several raters: the CRPS of the soft volume in the distribution of their
    volumes (`crps_ml`) and the calibration error averaged over raters (`ece_raters`), as in the
    challenge CURVAS."""
    soft_surface: bool = False
    """Compute `assd_soft_mm`, the average distance in mm between the surfaces at which the soft
    prediction and the soft truth cross 0.5 between voxels; slow for large structures."""

    _distinct = field_validator("dice_thresholds")(check_distinct)


@dataclass(frozen=True, eq=False)
class TrueTarget:
    """What predictions of one target of one scan are scored against."""

    soft: Float32Array
    """(X, Y, Z) in [0, 1], foreground from 0.5 on where it has to be binary."""
    voxels: Voxels
    raters: Mapping[str, Float32Array] = field(default_factory=dict)
    """Rater -> mask (X, Y, Z) in [0, 1], where there are several; else empty."""
    ignore: BoolArray | None = None
    """(X, Y, Z), the voxels whose truth is unknown, or None. They are removed from prediction and
    truth after postprocessing, for every score; the returned mask keeps them. `ignored_ml` is their
    volume; if no other voxel is left, all other scores are NaN."""


@dataclass(frozen=True, eq=False)
class TargetEvaluation:
    """One soft prediction and its binary mask, both postprocessed, and the scores of both."""

    soft: Float32Array  # (X, Y, Z)
    mask: BoolArray  # (X, Y, Z)
    scores: dict[str, float]  # a row of metrics.csv
    reliability: ReliabilityBins | None  # sums near the truth; None if calibration is off


class Evaluate(Component):
    """How predictions are binarized and scored, in the native space of each scan.

    Example: `evaluate: {postprocess: [keep_largest: {}], lesions: {}}`
    """

    mirror: bool = False
    """Whether to average the logits of a scan over its mirror images (test-time mirroring, as
    nnU-Net does): along the axes that `flip` mirrored in training, in all combinations, so that a
    prediction takes up to 4 times as long with a 2D network, up to 8 times with a 3D one. Targets
    of `flip.swap` change places. `predict` and packages follow this key, too, unless their
    option of this name is given."""
    postprocess: tuple[PostprocessStep, ...] = ()
    """Steps applied to each binary prediction after thresholding, in the order of the list; with
    `apply_to: soft` to the soft one, too. Available: remove_small, keep_largest, fill_holes. The
    threshold search, recalibration and maps of uncertainty are without them."""
    metrics: Metrics = Metrics()
    """Optional metrics."""
    lesions: LesionRules | None = None
    """Lesion-wise detection rates by these rules (ltpr, lfdr); null: do not compute them; {}: the
    rules of the paper."""
    remove_small_from_truth: SmallObjects | None = None
    """Remove small objects from the binary truth before all scores of the binary prediction, as in
    the published runs of Gros et al. 2020 ({}: fewer than 3 voxels, 18-connected); null: keep them.
    Not recommended: a small lesion that the model misses no longer counts, one that it finds counts
    as false, and scores cannot be compared with those of the whole truth. Soft scores, calibration,
    the raters and the threshold search keep them."""

    @property
    def steps(self) -> list[Any]:
        """The postprocessing steps as a YAML file or a sidecar holds them."""
        return list(self.model_dump(mode="json")["postprocess"])

    @property
    def changes_soft(self) -> bool:
        """Whether postprocessing also changes soft segmentations."""
        return any(step.apply_to == "soft" for step in self.postprocess)

    def __call__(
        self, probability: Float32Array, threshold: float, truth: TrueTarget
    ) -> TargetEvaluation:
        """Binarize a soft prediction (X, Y, Z) in [0, 1] from `threshold` on, and score it."""
        soft, mask = postprocess(probability, threshold, self.postprocess, truth.voxels)
        return self.score(soft, mask, truth)

    def score(
        self, soft: Float32Array, predicted: BoolArray, reference: TrueTarget
    ) -> TargetEvaluation:
        """Score a soft prediction and a mask (X, Y, Z) as they are, without postprocessing."""
        voxels, ignore = reference.voxels, reference.ignore
        probability, mask, truth, raters = soft, predicted, reference.soft, reference.raters
        if ignore is not None:
            probability, truth = (without_ignored(v, ignore) for v in (probability, truth))
            raters = {name: without_ignored(v, ignore) for name, v in raters.items()}
            mask = predicted & ~ignore
        true_mask = binarize(truth, TRUTH_THRESHOLD)
        if self.remove_small_from_truth is not None:
            true_mask = self.remove_small_from_truth.without(true_mask, voxels.mm3)
        scores = score_overlap_and_volume(
            probability, truth, mask, true_mask, voxels.ml, voxels.slice_axis, ignore
        )
        scores |= score_volume_bias(probability, truth, mask, true_mask, voxels.ml)
        bins = None
        if (margin := self.metrics.calibration_margin_mm) is not None:
            near = region(truth, voxels.zooms, margin)
            near = near if ignore is None else near & ~ignore
            scores |= score_calibration(probability, truth, near)
            bins = reliability(probability, truth, near)
        if (tolerance := self.metrics.surface_tolerance_mm) is not None:
            scores |= score_surface(mask, true_mask, voxels.zooms, tolerance)
        if self.metrics.soft_surface:
            scores["assd_soft_mm"] = soft_assd(probability, truth, voxels.zooms)
        if self.metrics.specificity:
            scores["specificity"] = specificity(mask, true_mask, ignore)
        for level in self.metrics.dice_thresholds:
            scores[f"dice_at_{level:g}"] = dice(binarize(probability, level), true_mask)
        if self.metrics.qubiq:
            scores["qubiq"] = qubiq_score(probability, truth)
        if self.lesions is not None:
            scores |= score_lesions(mask, true_mask, self.lesions, voxels.mm3)
        if raters:
            rater_masks = {name: binarize(soft, TRUTH_THRESHOLD) for name, soft in raters.items()}
            scores |= agreement(mask, rater_masks) if self.metrics.raters else {}
            if self.metrics.curvas:
                scores |= score_curvas(probability, rater_masks, voxels.ml, ignore)
        if ignore is not None:
            scores = dict.fromkeys(scores, float("nan")) if ignore.all() else scores
            scores["ignored_ml"] = volume_ml(ignore, voxels.ml)
        return TargetEvaluation(soft, predicted, scores, bins)
