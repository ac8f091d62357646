"""Lesion by lesion: which true ones were found, which predicted ones are false; (X, Y, Z)."""

from __future__ import annotations

from collections.abc import Iterator
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

Connectivity = Literal[6, 18, 26]
SizeUnit = Literal["voxels", "mm3"]

ROUNDING = 1e-6
"""Relative: a file's zooms are float32, so a size of exactly the limit may come out beside it."""


class LesionRules(Component):
    """What a lesion is and when it is detected (SoftSeg 2.4.2, and its published configuration)."""

    connectivity: Connectivity = 18
    """Which voxels touch, and so are of one lesion: those with a common face (6), face or edge
    (18), or face, edge or corner (26)."""
    overlap: Annotated[int, Field(ge=1)] = 3
    """A lesion is detected when at least this many of its voxels lie in the other mask; one of
    fewer voxels, when all of them do."""
    unit: SizeUnit = "voxels"
    """Unit of `minimum` and `size_bins`: voxels | mm3."""
    minimum: Annotated[float, Field(ge=0)] = 3
    """Smaller lesions are first left out of both masks, the true and the predicted one."""
    size_bins: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """Sizes at which to divide the lesions: [20, 100] gives the rates also of those up to 20, of
    those above 20 up to 100, and of those above 100."""

    @model_validator(mode="after")
    def _bins_in_order(self) -> Self:
        if any(low >= high for low, high in pairwise(self.size_bins)):
            raise ValueError("size_bins: write the sizes in rising order, each once")
        if self.size_bins and self.size_bins[0] < self.minimum:
            raise ValueError(
                f"size_bins: none may be below minimum ({self.minimum:g}), where no lesion is left"
            )
        return self


@dataclass(frozen=True, eq=False)
class Components:
    """The connected components of a mask, numbered from 1."""

    labels: NDArray[np.int32]  # (X, Y, Z): the component of a voxel, 0 for background
    sizes: NDArray[np.int64]  # (n,): voxels of components 1 .. n

    def measured(self, unit: SizeUnit, voxel_mm3: float) -> Float64Array:
        """Their sizes (n,) in voxels or mm3."""
        return self.sizes.astype(np.float64) * (1.0 if unit == "voxels" else voxel_mm3)

    def within(self, other: BoolArray) -> NDArray[np.int64]:
        """How many voxels of each (n,) lie in another mask (X, Y, Z)."""
        return np.bincount(self.labels[other], minlength=self.sizes.size + 1)[1:]

    def only(self, chosen: BoolArray) -> BoolArray:
        """The mask (X, Y, Z) of the chosen ones alone; `chosen` is (n,)."""
        return np.concatenate([[False], chosen])[self.labels]


@dataclass(frozen=True, eq=False)
class _Lesions:
    """The lesions of one mask that count, (n,) each."""

    bin: NDArray[np.intp]
    detected: BoolArray

    def of(self, index: int) -> _Lesions:
        """Those of one size bin."""
        inside = self.bin == index
        return _Lesions(self.bin[inside], self.detected[inside])


def score_lesions(
    mask: BoolArray, truth: BoolArray, rules: LesionRules, voxel_mm3: float
) -> dict[str, float]:
    """Lesion detection rates of a predicted mask, in percent, and numbers of lesions.

    Args:
        mask: predicted (X, Y, Z).
        truth: (X, Y, Z).
        rules: what a lesion is, and when it is detected.
        voxel_mm3: volume of one voxel in cubic millimeters.

    Returns:
        `ltpr`: share of the true lesions that are detected; NaN without a true lesion.
        `lfdr`: share of the predicted lesions that are false, that is, not detected in the truth;
        NaN without a predicted lesion.
        `lfdr_paper`: as the code of Gros et al. 2020 counts, false predicted lesions / (false
        predicted + detected *true* lesions), for comparing with their Table 4. It differs where
        one lesion meets several; NaN without a true lesion.
        `lesions_truth`, `lesions_pred`: their numbers.
        All but `lfdr_paper` again for each size bin, such as `ltpr_0_20`, `ltpr_20_100`,
        `ltpr_100_inf`: each lesion in the bin of its own size, the upper end included.

    Raises:
        ValueError: the shapes differ, or a mask is not boolean.
    """
    require_masks(mask, truth)
    predicted, true = (components(one, rules.connectivity) for one in (mask, truth))
    sizes = [one.measured(rules.unit, voxel_mm3) for one in (predicted, true)]
    counted = [at_least(size, rules.minimum) for size in sizes]
    found = _judge(predicted, sizes[0], counted[0], true.only(counted[1]), rules)
    sought = _judge(true, sizes[1], counted[1], predicted.only(counted[0]), rules)
    row = {**_rates(found, sought), "lfdr_paper": _lfdr_paper(found, sought)}
    for index, name in enumerate(_bin_names(rules.size_bins)):
        rates = _rates(found.of(index), sought.of(index))
        row |= {f"{key}_{name}": value for key, value in rates.items()}
    return row


def _judge(
    lesions: Components,
    sizes: Float64Array,
    counted: BoolArray,
    other: BoolArray,
    rules: LesionRules,
) -> _Lesions:
    """The lesions that count, each in its bin, and whether it is detected in the other mask."""
    detected = lesions.within(other) >= np.minimum(lesions.sizes, rules.overlap)
    bins = np.searchsorted(np.multiply(rules.size_bins, 1 + ROUNDING), sizes)
    return _Lesions(bins[counted], detected[counted])


def _rates(found: _Lesions, sought: _Lesions) -> dict[str, float]:
    """Of the predicted and of the true lesions."""
    return {
        "ltpr": percent(count(sought.detected), sought.detected.size),
        "lfdr": percent(count(~found.detected), found.detected.size),
        "lesions_truth": float(sought.detected.size),
        "lesions_pred": float(found.detected.size),
    }


def _lfdr_paper(found: _Lesions, sought: _Lesions) -> float:
    if not sought.detected.size:
        return float("nan")
    false = count(~found.detected)
    return percent(false, false + count(sought.detected))


def _bin_names(edges: tuple[float, ...]) -> Iterator[str]:
    """`0_20`, `20_100`, `100_inf`; none without edges."""
    ends = [str(end).removesuffix(".0") for end in (0.0, *edges, np.inf)]
    return (f"{low}_{high}" for low, high in pairwise(ends if edges else []))


def components(mask: BoolArray, connectivity: Connectivity) -> Components:
    """The connected components of a mask (X, Y, Z); labels are 32 bits wide, so any number."""
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    labels = np.empty(mask.shape, dtype=np.int32)
    number: int = ndimage.label(mask, structure, output=labels)
    return Components(labels, np.bincount(labels[mask], minlength=number + 1)[1:])


def at_least(sizes: Float64Array, minimum: float) -> BoolArray:
    """Which sizes reach a minimum, rounding of the voxel's volume aside."""
    reached: BoolArray = sizes >= minimum * (1 - ROUNDING)
    return reached


def require_masks(*masks: BoolArray) -> None:
    """ValueError unless all are boolean and of one shape: a soft value would be read as true."""
    if len(shapes := {mask.shape for mask in masks}) > 1:
        raise ValueError(f"masks differ in shape: {sorted(shapes)}")
    if kinds := sorted({str(mask.dtype) for mask in masks if mask.dtype != np.bool_}):
        raise ValueError(f"masks must be boolean, not {', '.join(kinds)}: binarize them first")
