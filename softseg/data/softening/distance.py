"""Softening by the distance to the surface of a mask, which runs between voxels."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy import special

from softseg.core.types import Float32Array, Float64Array, FloatArray
from softseg.data.softening.base import Length, LocalMethod, check_width
from softseg.data.softening.surface import surface_distance

Shape = Literal["linear", "sigmoid"]
_STEEPNESS = 5.0  # the argument of the logistic function at the end of a ramp


class Distance(LocalMethod):
    """A ramp of the signed distance to the surface, from 1 inside to 0 outside.

    With d, the distance in mm of the voxel center to the surface (negative inside), and w, the
    width: y = 1/2 - d / w, cut off at 0 and 1, or the same ramp in the shape of a sigmoid. Range: 0
    to 1; 0.5 on the surface, so the mask at 0.5 does not change. Voxels whose center is further
    than w / 2 from the surface keep their value, so a width below the voxel size has no effect, nor
    has one below the thickness of slices from one slice to the next. A width above the
    diameter of the largest ball inside the object is an error.

    Example: `soften: {distance: {width_mm: 1.0}}`
    """

    name: Literal["distance"] = "distance"
    needs_edge: ClassVar[bool] = True
    width_mm: Length
    """Total width of the ramp in mm, above 0; half of it is inside, half outside. For partial
    volume about 1.25 voxels (`linear`)."""
    shape: Shape = "linear"
    """`linear`: a straight ramp; `sigmoid`: steeper at the surface, flatter at both ends."""

    def reach_mm(self, zooms: Float64Array) -> float:  # noqa: ARG002
        """Return how far from the foreground voxels may change."""
        return self.width_mm / 2

    def soften(
        self,
        mask: Float32Array,
        zooms: Float64Array,
        image: Float32Array,  # noqa: ARG002
    ) -> FloatArray:
        """Return the ramp."""
        distance = surface_distance(mask > 0.5, zooms, self.width_mm / 2)
        check_width(self.width_mm, -distance.min())
        return ramp(distance, self.width_mm, self.shape)


def ramp(distance: Float64Array, width_mm: float, shape: Shape) -> Float64Array:
    """Return 1 for distances up to -width / 2, 0 from width / 2 on, and a ramp between them."""
    position = np.clip(-2 * distance / width_mm, -1, 1)
    if shape == "sigmoid":
        ends = special.expit([-_STEEPNESS, _STEEPNESS])
        values = (special.expit(_STEEPNESS * position) - ends[0]) / (ends[1] - ends[0])
        return np.asarray(values.clip(0, 1))
    return (position + 1) / 2


class Dilation(LocalMethod):
    """The mask, and around it a rim with a lower value.

    y = 1 inside, `value` where the voxel center is at most `width_mm` from the surface, and 0
    beyond. Source: Kats, Goldberger, Greenspan 2019 (arXiv 1901.09263), who dilate the masks of MS
    lesions. Range: 0, `value` and 1. It makes every object larger: with a value of 0.5 or more,
    also at a threshold of 0.5. A width below half of the voxel size has no effect; one above the
    diameter of the largest ball inside the object is an error.

    Example: `soften: {dilation: {width_mm: 1.0, value: 0.3}}`
    """

    name: Literal["dilation"] = "dilation"
    needs_edge: ClassVar[bool] = True
    width_mm: Length
    """Width of the rim in mm, above 0."""
    value: Annotated[float, Field(gt=0, lt=1)]
    """Value of the rim, above 0 and below 1; there is no usual one."""

    def reach_mm(self, zooms: Float64Array) -> float:  # noqa: ARG002
        """Return how far from the foreground voxels may change."""
        return self.width_mm

    def soften(
        self,
        mask: Float32Array,
        zooms: Float64Array,
        image: Float32Array,  # noqa: ARG002
    ) -> FloatArray:
        """Return the mask with its rim."""
        end = self.width_mm * (1 + 1e-6)
        distance = surface_distance(mask > 0.5, zooms, 1.1 * end)
        check_width(self.width_mm, -distance.min())
        return np.where(mask > 0.5, 1.0, np.where(distance <= end, self.value, 0.0))
