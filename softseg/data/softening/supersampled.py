"""Softening by the partial volume of a smooth surface."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from softseg.core.types import Float32Array, Float64Array, FloatArray
from softseg.data.softening.base import Length, LocalMethod, UnfitMaskError
from softseg.data.softening.surface import (
    blur_reach_mm,
    gaussian_blur,
    surface_distance,
)


class Supersampled(LocalMethod):
    """The fraction of each voxel inside the smoothed surface of the mask.

    The signed distance to the surface is smoothed by a Gaussian, interpolated linearly at `factor`
    points along each axis of a voxel, and y is the fraction of them where it is below a level. The
    level is near 0, and such that as many voxel centers are below it as the mask has voxels: a
    round surface that is smoothed moves inwards. Range: 0 to 1 in steps of 1 / factor^3. The number
    of voxels of at least about 0.5 stays, while the soft volume may change by some percent.

    A flat surface along an axis of the voxels stays binary, as it is between them; steps of oblique
    and round surfaces become partial volume. Details and corners below `sigma_mm` disappear, also
    objects, if others are larger. A `sigma_mm` above the inscribed radius of the largest is an
    error.

    Example: `soften: {supersampled: {sigma_mm: 0.7}}`
    """

    name: Literal["supersampled"] = "supersampled"
    needs_edge: ClassVar[bool] = True
    sigma_mm: Length
    """Standard deviation in mm of the Gaussian that smooths the surface, above 0. For partial
    volume 0.3 to 0.4 voxels: the interpolation smooths, too."""
    factor: Annotated[int, Field(ge=2, le=16)] = 4
    """Points along each axis of a voxel, from 2 to 16."""

    def reach_mm(self, zooms: Float64Array) -> float:
        """Return how far from the foreground voxels may change."""
        return blur_reach_mm(self.sigma_mm) + float(zooms.max())

    def soften(
        self,
        mask: Float32Array,
        zooms: Float64Array,
        image: Float32Array,  # noqa: ARG002
    ) -> FloatArray:
        """Return the fraction of each voxel inside the smoothed surface."""
        inside = mask > 0.5
        limit = blur_reach_mm(self.sigma_mm) + 2 * float(zooms.max())
        distance = surface_distance(inside, zooms, limit)
        if (radius := -distance.min()) < self.sigma_mm:
            raise UnfitMaskError(
                f"sigma_mm {self.sigma_mm:g} is larger than the object (inscribed radius "
                f"{radius:.3g} mm); lower it to that radius or less"
            )
        smooth = gaussian_blur(distance, zooms, self.sigma_mm)
        smooth -= _level(smooth, int(inside.sum()))
        offsets = (np.arange(self.factor) + 0.5) / self.factor - 0.5
        total = np.zeros(mask.shape)
        for x in offsets:
            plane = _shifted(smooth, x, 0)
            for y in offsets:
                line = _shifted(plane, y, 1)
                for z in offsets:
                    total += _shifted(line, z, 2) < 0
        return total / self.factor**3


def _level(smooth: Float64Array, count: int) -> float:
    """Return the level that `count` voxels are below; 0 if that are all."""
    if count >= smooth.size:
        return 0.0
    below, above = np.partition(smooth, (count - 1, count), axis=None)[count - 1 : count + 1]
    return float(below + above) / 2


def _shifted(values: Float64Array, offset: float, axis: int) -> Float64Array:
    """Return values interpolated linearly at `offset` voxels (-1 to 1) from each along an axis."""
    size = values.shape[axis]
    neighbors = np.clip(np.arange(size) + (1 if offset > 0 else -1), 0, size - 1)
    return (1 - abs(offset)) * values + abs(offset) * np.take(values, neighbors, axis)
