"""What all ways to soften a mask share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from softseg.core.component import Component
from softseg.core.errors import UserError
from softseg.core.types import BoolArray, Float32Array, Float64Array, FloatArray

Length = Annotated[float, Field(gt=0)]


class UnfitMaskError(UserError):
    """A mask that a method cannot soften; the message names neither the file nor the subject."""


class SoftenMethod(Component):
    """A way to make a mask soft; calling it returns the soft mask."""

    name: str
    needs_edge: ClassVar[bool] = False
    """Whether the mask must be binary."""

    @abstractmethod
    def __call__(
        self, mask: Float32Array, zooms: Float64Array, image: Float32Array
    ) -> Float32Array:
        """Return the soft mask (X, Y, Z), float32 in [0, 1], on the same grid.

        Args:
            mask: (X, Y, Z) in [0, 1]; of 0 and 1 only where `needs_edge`.
            zooms: (3,) voxel sizes in mm.
            image: (C, X, Y, Z) the scan, for methods that look at it.

        Raises:
            UnfitMaskError: the method's width is larger than the object.
        """


class LocalMethod(SoftenMethod):
    """A method that changes only what is near the foreground, and computes only that."""

    def __call__(
        self, mask: Float32Array, zooms: Float64Array, image: Float32Array
    ) -> Float32Array:
        """Return the soft mask (X, Y, Z); a mask without foreground stays as it is."""
        margin = np.ceil(self.reach_mm(zooms) / zooms).astype(int) + 1
        box = foreground_box(mask > 0, margin)
        if box is None:
            return mask
        softened = mask.copy()
        softened[box] = self.soften(mask[box], zooms, image[(slice(None), *box)])
        return softened

    @abstractmethod
    def reach_mm(self, zooms: Float64Array) -> float:
        """Return how far from the foreground voxels may change."""

    @abstractmethod
    def soften(self, mask: Float32Array, zooms: Float64Array, image: Float32Array) -> FloatArray:
        """Return the soft mask of a box that holds all foreground and the reach around it."""


def foreground_box(foreground: BoolArray, margin: FloatArray) -> tuple[slice, ...] | None:
    """Return the box around all foreground (X, Y, Z), `margin` (3,) voxels wider, in the volume.

    None without foreground.
    """
    spans = []
    for axis, size in enumerate(foreground.shape):
        others = tuple(other for other in range(foreground.ndim) if other != axis)
        present = np.flatnonzero(foreground.any(axis=others))
        if len(present) == 0:
            return None
        low, high = int(present[0] - margin[axis]), int(present[-1] + margin[axis]) + 1
        spans.append(slice(max(0, low), min(size, high)))
    return tuple(spans)


def check_width(width_mm: float, radius_mm: float) -> None:
    """Raise UnfitMaskError for a width above the diameter of the ball that fits into the object."""
    if width_mm > 2 * radius_mm * (1 + 1e-6):
        raise UnfitMaskError(
            f"width_mm {width_mm:g} is larger than the object (inscribed radius {radius_mm:.3g} "
            "mm); lower it to twice that radius or less"
        )
