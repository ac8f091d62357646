"""What the training scans of a model looked like, and in what a new scan differs from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, TypeAdapter, model_validator

from softseg.core.component import Component, parse_component
from softseg.core.types import Float32Array, FloatArray
from softseg.data.nifti.grid import Grid, canonical
from softseg.data.sample import Sample

_LEVELS = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
_SAMPLED = 500_000  # voxels, evenly spread over a scan, that its quantiles are computed from
# How far outside the range of the training scans a scan must be to be reported. A range of few
# scans is narrow, so these are generous.
_ZOOM_RATIO = 1.5
_SHORTER, _LONGER = 0.8, 2.0  # fields of view, relative to the smallest and to the largest
_DEVIATIONS = 0.5  # standard deviations of the scan's intensities
_VOLUME_RATIO = 2.0

Quantiles = tuple[float, ...]


class Range(Component):
    """The smallest and the largest value over the training scans."""

    smallest: float
    largest: float

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.smallest > self.largest:
            raise ValueError("smallest is larger than largest")
        return self

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Return the range of at least one value."""
        numbers = [float(value) for value in values]
        return cls(smallest=min(numbers), largest=max(numbers))

    def __str__(self) -> str:
        return "-".join(dict.fromkeys(f"{end:.3g}" for end in (self.smallest, self.largest)))

    def excess(self, value: float) -> float:
        """Return by how much a value is outside the range; 0 inside it."""
        return max(self.smallest - value, value - self.largest, 0.0)


Ranges = tuple[Range, ...]
PerAxis = Annotated[Ranges, Field(min_length=3, max_length=3)]


class TrainingScans(Component):
    """The ranges of what was measured in the training scans; axes are right-left first."""

    zooms_mm: PerAxis
    """Native voxel size along each axis."""
    extent_mm: PerAxis
    """Field of view along each axis."""
    quantiles: dict[str, Annotated[Ranges, Field(min_length=7, max_length=7)]]
    """Contrast -> its quantiles at 1, 10, 25, 50, 75, 90 and 99 %, in standard deviations of the
    scan from its mean."""
    volume_ml: dict[str, Range]
    """Target -> soft volume of its mask."""

    @classmethod
    def of(
        cls,
        grids: Sequence[Grid],
        quantiles: Mapping[str, Sequence[Quantiles]],
        volume_ml: Mapping[str, Sequence[float]],
    ) -> Self:
        """Return the ranges over scans: the native grid, quantiles and volumes of each."""
        return cls(
            zooms_mm=_ranges([canonical(grid).zooms.tolist() for grid in grids]),
            extent_mm=_ranges([_extent(grid) for grid in grids]),
            quantiles={contrast: _ranges(values) for contrast, values in quantiles.items()},
            volume_ml={target: Range.of(values) for target, values in volume_ml.items()},
        )

    def differences(
        self, grid: Grid, images: Mapping[str, FloatArray], volume_ml: Mapping[str, float]
    ) -> list[str]:
        """Return in what a scan is unlike all training scans, as phrases; empty if in nothing.

        Args:
            grid: its native grid.
            images: contrast -> native voxels (X, Y, Z).
            volume_ml: target -> predicted soft volume.
        """
        zooms, extent = canonical(grid).zooms.tolist(), _extent(grid)
        phrases = []
        sizes = list(zip(zooms, self.zooms_mm, strict=True))
        if any(z * _ZOOM_RATIO < r.smallest or z > r.largest * _ZOOM_RATIO for z, r in sizes):
            training = _by_axis(self.zooms_mm)
            phrases.append(f"voxels of {_by_axis(zooms)} mm (in training {training} mm)")
        fields = list(zip(extent, self.extent_mm, strict=True))
        if any(e < r.smallest * _SHORTER or e > r.largest * _LONGER for e, r in fields):
            training = _by_axis(self.extent_mm)
            phrases.append(f"a field of view of {_by_axis(extent)} mm (in training {training} mm)")
        phrases += self._unusual_intensities(images)
        for target, predicted in volume_ml.items():
            limits = self.volume_ml[target]
            low, high = limits.smallest / _VOLUME_RATIO, limits.largest * _VOLUME_RATIO
            if not low <= predicted <= high:
                phrases.append(f"{predicted:.3g} ml of {target} (in training {limits} ml)")
        return phrases

    def _unusual_intensities(self, images: Mapping[str, FloatArray]) -> Iterator[str]:
        """Yield which contrasts (X, Y, Z) are unlike those of training, or look exchanged."""
        measured = {
            contrast: scan_quantiles(image)
            for contrast, image in images.items()
            if contrast in self.quantiles
        }
        nearest = {contrast: self._nearest(values) for contrast, values in measured.items()}
        for contrast, values in measured.items():
            pairs = list(zip(values, self.quantiles[contrast], strict=True))
            excess = [limits.excess(value) for value, limits in pairs]
            worst = int(np.argmax(excess))
            other = nearest[contrast]
            if excess[worst] > 0 and other != contrast and nearest.get(other) == contrast:
                yield f"{contrast} looks like {other} in training (are the two files exchanged?)"
            elif excess[worst] > _DEVIATIONS:
                value, limits = pairs[worst]
                yield (
                    f"intensities of {contrast}: {100 * _LEVELS[worst]:g} % of the voxels are "
                    f"below {value:.3g} standard deviations (in training {limits})"
                )

    def _nearest(self, values: Quantiles) -> str:
        """Return the contrast whose training scans have the most similar quantiles."""

        def distance(contrast: str) -> float:
            ranges = self.quantiles[contrast]
            middles = [(limits.smallest + limits.largest) / 2 for limits in ranges]
            return float(np.abs(np.subtract(values, middles)).sum())

        return min(self.quantiles, key=distance)


def differences_from_training(
    training: TrainingScans | None,
    sample: Sample,
    contrasts: Sequence[str],
    targets: Sequence[str],
    soft: Float32Array,
) -> list[str]:
    """Return in what a scan or its soft prediction (K, X, Y, Z) is unlike the training scans.

    Empty if there is none, or if nothing was recorded (`training` is None).
    """
    if training is None:
        return []
    volume_ml = [float(target.sum()) * sample.grid.voxel_ml for target in soft]
    return training.differences(
        sample.grid,
        dict(zip(contrasts, sample.image, strict=True)),
        dict(zip(targets, volume_ml, strict=True)),
    )


def recorded_training_scans(metadata: Mapping[str, Any]) -> TrainingScans | None:
    """Return the record of run.json or a package; None if there is none."""
    recorded = metadata.get("training_scans")
    return None if recorded is None else parse_component(TypeAdapter(TrainingScans), recorded)


def scan_quantiles(image: FloatArray) -> Quantiles:
    """Return the quantiles of a contrast (X, Y, Z) in standard deviations from its mean.

    They do not change with the scale and the offset of the intensities; 0 in a constant image.
    """
    flat = image.reshape(-1)
    sampled = np.asarray(flat[:: len(flat) // _SAMPLED + 1], dtype=np.float64)
    deviation = float(sampled.std()) or 1.0
    quantiles = (np.quantile(sampled, _LEVELS) - sampled.mean()) / deviation
    return tuple(float(value) for value in quantiles)


def _extent(grid: Grid) -> list[float]:
    """Return the field of view [mm] along each axis, right-left first."""
    upright = canonical(grid)
    return [count * zoom for count, zoom in zip(upright.shape, upright.zooms, strict=True)]


def _ranges(rows: Sequence[Sequence[float]]) -> Ranges:
    """Return the range of each column."""
    return tuple(Range.of(column) for column in zip(*rows, strict=True))


def _by_axis(values: Iterable[float | Range]) -> str:
    return " x ".join(str(v) if isinstance(v, Range) else f"{v:.3g}" for v in values)
