"""The `evaluate:` section of a YAML: one target of one scan from soft prediction to scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from softseg.core.component import Component
from softseg.core.types import BoolArray, Float32Array
from softseg.metrics import TRUTH_THRESHOLD, binarize, score
from softseg.metrics.agreement import agreement
from softseg.metrics.calibration import ReliabilityBins, region, reliability, score_calibration
from softseg.metrics.lesions import LesionRules, score_lesions
from softseg.metrics.postprocess import PostprocessStep, postprocess
from softseg.metrics.surface import score_surface
from softseg.metrics.volume_bias import score_volume_bias


class Metrics(Component):
    """What is measured beside overlap, volume and soft error, which always are."""

    surface_tolerance_mm: Annotated[float, Field(ge=0)] | None = None
    """Measure distances of surfaces: hd95_mm, assd_mm, and surface_dice at this tolerance in mm;
    null: do not."""
    calibration_margin_mm: Annotated[float, Field(ge=0)] | None = 5.0
    """How far from the truth, in mm, voxels count for ece, ace, brier and the reliability diagram;
    null: do not measure them."""
    group_by: str = "center"
    """Column of the subjects that the report divides the volume bias by, where they have it."""
    raters: bool = True
    """Where a target has several raters: Dice with each, theirs with one another, and the
    generalized energy distance."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What is made of one soft prediction."""

    mask: BoolArray  # (X, Y, Z)
    scores: dict[str, float]  # a row of metrics.csv
    reliability: ReliabilityBins | None  # sums near the truth, unless they are not measured


class Evaluate(Component):
    """How predictions are made binary and scored, in the native space of each scan."""

    postprocess: tuple[PostprocessStep, ...] = ()
    """Steps done to each binary prediction after thresholding, in this order: remove_small,
    keep_largest, fill_holes. The threshold search is done without them."""
    metrics: Metrics = Metrics()
    """What is measured."""
    lesions: LesionRules | None = None
    """Lesion-wise detection rates by these rules (ltpr, lfdr); null: do not; {}: as published."""

    @property
    def steps(self) -> list[Any]:
        """The postprocessing as a YAML or a sidecar writes it."""
        found: list[Any] = self.model_dump(mode="json")["postprocess"]
        return found

    def __call__(
        self,
        probability: Float32Array,
        truth: Float32Array,
        threshold: float,
        zooms: Sequence[float],
        voxel_ml: float,
        slice_axis: int = 2,
        raters: Mapping[str, Float32Array] | None = None,
    ) -> Judged:
        """The binary prediction, its scores, and how far it can be believed.

        Args:
            probability: soft prediction (X, Y, Z) in [0, 1].
            truth: (X, Y, Z) in [0, 1], foreground from 0.5 on where it has to be binary.
            threshold: from which probability on a voxel is foreground.
            zooms: (3,) size of a voxel in mm.
            voxel_ml: its volume in milliliters; less than the product where the axes are skewed.
            slice_axis: the axis along which the model sliced the volume.
            raters: rater -> mask (X, Y, Z) in [0, 1], where there are several.
        """
        voxel_mm3 = 1000 * voxel_ml
        mask = postprocess(
            binarize(probability, threshold), self.postprocess, voxel_mm3, slice_axis
        )
        true_mask = binarize(truth, TRUTH_THRESHOLD)
        row = score(probability, truth, mask, voxel_ml, slice_axis)
        row |= score_volume_bias(probability, truth, mask, voxel_ml)
        bins = None
        if (margin := self.metrics.calibration_margin_mm) is not None:
            near = region(truth, zooms, margin)
            row |= score_calibration(probability, truth, near)
            bins = reliability(probability, truth, near)
        if (tolerance := self.metrics.surface_tolerance_mm) is not None:
            row |= score_surface(mask, true_mask, zooms, tolerance)
        if self.lesions is not None:
            row |= score_lesions(mask, true_mask, self.lesions, voxel_mm3)
        if raters and self.metrics.raters:
            drawn = {name: binarize(one, TRUTH_THRESHOLD) for name, one in raters.items()}
            row |= agreement(mask, drawn)
        return Judged(mask, row, bins)
