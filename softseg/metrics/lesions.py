"""Lesion-wise detection: which true lesions are detected, which predicted ones are false."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy import ndimage

from softseg.core.component import Component
from softseg.core.types import BoolArray, Float64Array
from softseg.metrics.overlap import count, percent

Connectivity = Annotated[
    Literal[6, 18, 26],
    Field(
        description="Which neighboring voxels are connected: those with a common face (6), face or "
        "edge (18), or face, edge or corner (26)."
    ),
]
SizeUnit = Literal["voxels", "mm3"]

ROUNDING = 1e-6
"""Relative tolerance of limits: zooms are float32, so a size of exactly the limit may miss it."""


class SmallObjects(Component):
    """Which objects are too small to count. Example: `remove_small_from_truth: {minimum: 3}`"""

    minimum: Annotated[float, Field(ge=0)] = 3
    """Objects of this size and larger ones are kept."""
    unit: SizeUnit = "voxels"
    """Unit of `minimum`: voxels | mm3."""
    connectivity: Connectivity = 18

    def without(self, mask: BoolArray, voxel_mm3: float) -> BoolArray:
        """Return a mask (X, Y, Z) without them; a voxel has `voxel_mm3` cubic millimeters."""
        objects = components(mask, self.connectivity)
        return objects.at_least(self.minimum, self.unit, voxel_mm3).labels > 0


class LesionRules(Component):
    """What counts as a lesion, and when it is detected.

    Source: Gros et al. 2020, section 2.4.2, and the configuration of its experiments.

    Example: `lesions: {minimum: 5, unit: mm3, size_bins: [20, 100]}`
    """

    connectivity: Connectivity = 18
    overlap: Annotated[int, Field(ge=1)] = 3
    """A lesion is detected when at least this many of its voxels are in the other mask; a
    lesion of fewer voxels, when all of them are."""
    unit: SizeUnit = "voxels"
    """Unit of `minimum` and `size_bins`: voxels | mm3."""
    minimum: Annotated[float, Field(ge=0)] = 3
    """Smaller lesions are first removed from both masks, the true and the predicted one."""
    size_bins: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """Sizes that separate groups of lesions: with [20, 100] the rates are also given for lesions
    up to 20, above 20 up to 100, and above 100."""

    @model_validator(mode="after")
    def _check_size_bins(self) -> Self:
        """Reject bins that are not in rising order, or below the smallest lesion."""
        if any(low >= high for low, high in pairwise(self.size_bins)):
            raise ValueError("size_bins: write the sizes in rising order, each once")
        if self.size_bins and self.size_bins[0] < self.minimum:
            raise ValueError(
                f"size_bins: none may be below minimum ({self.minimum:g}), which removes all "
                "smaller lesions"
            )
        return self


@dataclass(frozen=True, eq=False)
class Components:
    """The connected components of a mask, numbered from 1."""

    labels: NDArray[np.int32]  # (X, Y, Z): the component of a voxel, 0 for background
    sizes: NDArray[np.int64]  # (n,): voxels of components 1 .. n

    def sizes_in(self, unit: SizeUnit, voxel_mm3: float) -> Float64Array:
        """Return the sizes (n,) in voxels or mm3."""
        return self.sizes.astype(np.float64) * (1.0 if unit == "voxels" else voxel_mm3)

    def overlap_with(self, other: BoolArray) -> NDArray[np.int64]:
        """Return the number of voxels (n,) of each component in another mask (X, Y, Z)."""
        return np.bincount(self.labels[other], minlength=self.sizes.size + 1)[1:]

    def select(self, selected: BoolArray) -> Components:
        """Return the components that `selected` (n,) marks, numbered anew."""
        numbers = np.concatenate([[0], np.cumsum(selected) * selected]).astype(np.int32)
        return Components(numbers[self.labels], self.sizes[selected])

    def at_least(self, minimum: float, unit: SizeUnit, voxel_mm3: float) -> Components:
        """Return the components that reach a minimum size, rounding of `voxel_mm3` aside."""
        return self.select(self.sizes_in(unit, voxel_mm3) >= minimum * (1 - ROUNDING))


def score_lesions(
    mask: BoolArray, truth: BoolArray, rules: LesionRules, voxel_mm3: float
) -> dict[str, float]:
    """Compute the lesion detection rates of a predicted mask, in percent, and lesion counts.

    Both masks are (X, Y, Z); a voxel has a volume of `voxel_mm3` cubic millimeters. Ignored voxels
    must be removed from both before: a lesion that continues into them has the size of its known
    part, and two parts on either side of them are two lesions.

    Returns:
        `ltpr`: fraction of the true lesions that are detected; NaN without a true lesion.
        `lfdr`: fraction of the predicted lesions that are false, that is, not detected in the
        truth; NaN without a predicted lesion.
        `lfdr_paper`: as the code of Gros et al. 2020 counts, false predicted lesions / (false
        predicted + detected *true* lesions), for comparing with their Table 4. It differs where
        one lesion meets several; NaN without a true lesion.
        `lesions_truth`, `lesions_pred`: their numbers.
        All but `lfdr_paper` again for each size bin, such as `ltpr_0_20`, `ltpr_20_100`,
        `ltpr_100_inf`: each lesion in the bin of its own size, the upper end included.

    Raises:
        ValueError: the shapes differ, or a mask is not boolean.
    """
    check_masks(mask, truth)
    predicted, true = (
        components(volume, rules.connectivity).at_least(rules.minimum, rules.unit, voxel_mm3)
        for volume in (mask, truth)
    )
    predicted_hits, true_hits = (
        lesions.overlap_with(other.labels > 0) >= np.minimum(lesions.sizes, rules.overlap)
        for lesions, other in ((predicted, true), (true, predicted))
    )
    scores = _rates(predicted_hits, true_hits)
    false = count(~predicted_hits)
    scores["lfdr_paper"] = (
        percent(false, false + count(true_hits)) if true_hits.size else float("nan")
    )
    if not rules.size_bins:
        return scores
    limits = np.multiply(rules.size_bins, 1 + ROUNDING)
    predicted_bins, true_bins = (
        np.searchsorted(limits, lesions.sizes_in(rules.unit, voxel_mm3))
        for lesions in (predicted, true)
    )
    ends = [str(end).removesuffix(".0") for end in (0.0, *rules.size_bins, np.inf)]
    for index, (low, high) in enumerate(pairwise(ends)):
        rates = _rates(predicted_hits[predicted_bins == index], true_hits[true_bins == index])
        scores |= {f"{name}_{low}_{high}": value for name, value in rates.items()}
    return scores


def _rates(predicted_hits: BoolArray, true_hits: BoolArray) -> dict[str, float]:
    """Return the rates in percent and the numbers of lesions, given which are detected, (n,)."""
    return {
        "ltpr": percent(count(true_hits), true_hits.size),
        "lfdr": percent(count(~predicted_hits), predicted_hits.size),
        "lesions_truth": float(true_hits.size),
        "lesions_pred": float(predicted_hits.size),
    }


def components(mask: BoolArray, connectivity: Connectivity) -> Components:
    """Find the connected components of a mask (X, Y, Z); labels have 32 bits, so any number."""
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    labels = np.empty(mask.shape, dtype=np.int32)
    number: int = ndimage.label(mask, structure, output=labels)
    return Components(labels, np.bincount(labels[mask], minlength=number + 1)[1:])


def lesion_territories(
    lesions: Components, zooms: Sequence[float], reach_mm: float
) -> NDArray[np.int32]:
    """Return the lesion (X, Y, Z) that each voxel belongs to, 0 for none.

    A voxel belongs to the lesion with the nearest voxel if that is at most `reach_mm` away, between
    centers of voxels of `zooms` (3,) mm; each lesion contains its own voxels.
    """
    inside, territories = lesions.labels > 0, np.zeros_like(lesions.labels)
    if inside.any():
        box = box_around(inside, zooms, reach_mm)
        distance, nearest = ndimage.distance_transform_edt(
            ~inside[box], sampling=zooms, return_indices=True
        )
        labels = lesions.labels[box][tuple(nearest)]
        territories[box] = np.where(distance <= reach_mm * (1 + ROUNDING), labels, 0)
    return territories


def box_around(mask: BoolArray, zooms: Sequence[float], margin_mm: float) -> tuple[slice, ...]:
    """Return the box that contains all voxels within a margin of a mask, which is not empty.

    `zooms` (3,) is the size of a voxel in mm.
    """
    [smallest] = ndimage.find_objects(mask.view(np.uint8))
    margins = [int(margin_mm / zoom) + 1 for zoom in zooms]  # in voxels
    return tuple(
        slice(max(0, side.start - margin), side.stop + margin)
        for side, margin in zip(smallest, margins, strict=True)
    )


def check_masks(*masks: BoolArray) -> None:
    """Raise ValueError unless all are boolean and of one shape: soft values would all be true."""
    if len(shapes := {mask.shape for mask in masks}) > 1:
        raise ValueError(f"masks differ in shape: {sorted(shapes)}")
    if kinds := sorted({str(mask.dtype) for mask in masks if mask.dtype != np.bool_}):
        raise ValueError(f"masks must be boolean, not {', '.join(kinds)}: binarize them first")
