"""The softening of a subject's masks for training (`dataset.targets.X.soften`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from softseg.core.names import listing
from softseg.core.types import BoolArray, Float32Array, Float64Array
from softseg.data.loaders.base import DatasetFields
from softseg.data.masks import count_soft
from softseg.data.sample import Sample, SubjectError
from softseg.data.softening import SoftenMethod, UnfitMaskError
from softseg.data.subject import Subject
from softseg.metrics import without_ignored

_BEFORE_FUSION = ("mean", "random")
"""Fusions that would make a mask soft, or use the masks of single raters."""


def soften_sample(sample: Sample, subject: Subject, dataset: DatasetFields) -> Sample:
    """Return the sample with the masks that training uses; `truth` has those of the files.

    Without `soften` in any target it is the sample itself. Raises SubjectError with every mask that
    cannot be softened.
    """
    if all(target.soften is None for target in dataset.targets.values()):
        return sample
    problems: list[str] = []
    fused, raters = [], []
    for k, (name, target) in enumerate(dataset.targets.items()):
        mask, by_rater = sample.target[k], sample.raters[k]
        if target.soften is not None:
            softener = _Softener(sample, k, target.soften)
            try:
                if dataset.raters.fusion in _BEFORE_FUSION:
                    by_rater = softener.soften_raters(by_rater)
                    mask = without_ignored(dataset.raters(by_rater), sample.ignored(k))
                else:
                    mask = softener.soften(mask)
            except UnfitMaskError as error:
                files = listing([str(path) for path in subject.labels[name].values() if path], 1)
                key = f"dataset.targets.{name}.soften.{target.soften.name}"
                problems.append(f"{subject.name}: {key}: {error} ({files})")
        fused.append(mask)
        raters.append(by_rater)
    if problems:
        raise SubjectError(subject.name, problems)
    return replace(
        sample,
        target=np.stack(fused),
        raters=tuple(raters),
        truth=sample.target,
        soft={**sample.soft, "soften": count_soft(fused)},
    )


@dataclass(frozen=True)
class _Softener:
    """Softens the masks of one target of a subject."""

    sample: Sample
    k: int
    method: SoftenMethod

    def soften_raters(self, masks: Mapping[str, Float32Array]) -> dict[str, Float32Array]:
        """Return the softened mask of each rater; errors name the rater, if there are several."""
        softened = {}
        for rater, mask in masks.items():
            try:
                softened[rater] = self.soften(mask)
            except UnfitMaskError as error:
                by = f"the mask by rater {rater}: " if len(masks) > 1 else ""
                raise UnfitMaskError(f"{by}{error}") from None
        return softened

    def soften(self, mask: Float32Array) -> Float32Array:
        """Return the softened mask (X, Y, Z), 0 where it is ignored."""
        soft, positive = count_soft([mask])
        if self.method.needs_edge and soft:
            raise UnfitMaskError(
                f"the mask is soft already ({100 * soft / positive:.1f} % of its voxels above 0 "
                f"are below 1), and `{self.method.name}` needs the edge of a binary one; use "
                "`gaussian` or `smoothing`, or remove `soften`"
            )
        ignored = self.sample.ignored(self.k)
        zooms = self.sample.grid.zooms
        known = mask if ignored is None else _filled(mask, ignored, zooms)
        return without_ignored(self.method(known, zooms, self.sample.image), ignored)


def _filled(mask: Float32Array, ignored: BoolArray, zooms: Float64Array) -> Float32Array:
    """Return the mask with the value of the nearest known voxel where it is ignored (X, Y, Z).

    Otherwise a structure that continues into ignored voxels would have an edge at their border.
    """
    if ignored.all() or not ignored.any():
        return mask
    nearest = ndimage.distance_transform_edt(
        ignored, sampling=zooms, return_distances=False, return_indices=True
    )
    filled: Float32Array = mask[tuple(nearest)]
    return filled
