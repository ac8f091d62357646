"""Postprocessing of a thresholded mask: remove_small, keep_largest, fill_holes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from scipy import ndimage

from softseg.core.component import Component, SingleKey
from softseg.core.types import BoolArray
from softseg.metrics.lesions import Connectivity, SmallObjects, check_masks, components


class RemoveSmall(SmallObjects):
    """Remove objects smaller than a minimum. Example: `- remove_small: {minimum: 5, unit: mm3}`"""

    name: Literal["remove_small"] = "remove_small"

    def __call__(self, mask: BoolArray, voxel_mm3: float, slice_axis: int) -> BoolArray:  # noqa: ARG002
        """Return the mask (X, Y, Z) without the small objects."""
        return self.without(mask, voxel_mm3)


class KeepLargest(Component):
    """Keep only the object with the most voxels.

    Of equally large objects, the one with the first voxel in the order of the file's axes.

    Example: `- keep_largest: {connectivity: 26}`
    """

    name: Literal["keep_largest"] = "keep_largest"
    connectivity: Connectivity = 18

    def __call__(self, mask: BoolArray, voxel_mm3: float, slice_axis: int) -> BoolArray:  # noqa: ARG002
        """Return the mask (X, Y, Z) of the largest object; empty if the mask is."""
        objects = components(mask, self.connectivity)
        if not objects.sizes.size:
            return mask
        largest = objects.select(objects.sizes == objects.sizes.max()).labels
        first: BoolArray = largest == largest.flat[np.argmax(largest > 0)]
        return first


class FillHoles(Component):
    """Fill background that the foreground encloses.

    Background is enclosed if no path over common faces (within a slice: edges of pixels) leads
    out of it, so foreground that meets only at corners closes a hole.

    Example: `- fill_holes: {over: slice}`
    """

    name: Literal["fill_holes"] = "fill_holes"
    over: Literal["volume", "slice"] = "volume"
    """volume: fill background enclosed in 3D; slice: background enclosed within its slice, so that
    a tube is filled too."""

    def __call__(self, mask: BoolArray, voxel_mm3: float, slice_axis: int) -> BoolArray:  # noqa: ARG002
        """Return the mask (X, Y, Z) with its holes filled."""
        faces = ndimage.generate_binary_structure(3, 1)
        if self.over == "slice":
            np.moveaxis(faces, slice_axis, 0)[[0, 2]] = False
        return ndimage.binary_fill_holes(mask, faces)


PostprocessStep = Annotated[RemoveSmall | KeepLargest | FillHoles, SingleKey]


def postprocess(
    mask: BoolArray, steps: Sequence[PostprocessStep], voxel_mm3: float, slice_axis: int = 2
) -> BoolArray:
    """Apply steps to a thresholded mask (X, Y, Z) in native space; none return the mask itself.

    Voxels have `voxel_mm3` cubic millimeters; the model sliced the volume along `slice_axis`.
    Raises ValueError if the mask is not boolean.
    """
    check_masks(mask)
    for step in steps:
        mask = step(mask, voxel_mm3, slice_axis)
    return mask
