"""Postprocessing of a prediction: remove_small, keep_largest, fill_holes.

Every step changes the binary mask; with `apply_to: soft`, the soft segmentation, too. If all steps
do, the mask is the soft segmentation at its threshold before and after each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from scipy import ndimage

from softseg.core.component import Component, SingleKey
from softseg.core.types import BoolArray, Float32Array
from softseg.metrics import binarize
from softseg.metrics.lesions import ROUNDING, Connectivity, SmallObjects, components


@dataclass(frozen=True)
class Voxels:
    """The size of the voxels of a volume (X, Y, Z), and how it was sliced."""

    zooms: Sequence[float]  # (3,) size in mm
    ml: float  # volume; less than the product of the sizes where the axes are skewed
    slice_axis: int = 2  # along which the model sliced the volume

    @property
    def mm3(self) -> float:
        """Volume of a voxel in cubic millimeters."""
        return 1000 * self.ml


class Removal(Component):
    """A step that removes objects of the mask."""

    connectivity: Connectivity = 18
    apply_to: Literal["mask", "soft"] = "mask"
    """mask: change only the binary mask; soft: the soft segmentation as well. There, a voxel above
    0 is kept if voxels above 0 connect it with a kept object and none of them, itself included, is
    nearer (in mm) to a removed object of the same connected region. All others become 0, so nothing
    is left where the mask is empty."""

    def soften(
        self, soft: Float32Array, foreground: BoolArray, kept: BoolArray, voxels: Voxels
    ) -> Float32Array:
        """Return the soft segmentation (X, Y, Z) of the objects that are kept.

        `foreground` is the soft segmentation at its threshold, `kept` the mask after the step.
        """
        removed = foreground & ~kept
        support = (soft > 0) | kept
        regions = components(support, self.connectivity).labels
        of_kept, of_removed = (np.unique(regions[mask]) for mask in (kept, removed))
        boxes = ndimage.find_objects(regions)
        for number in np.intersect1d(of_kept, of_removed):
            box = boxes[number - 1]
            inside = regions[box] == number
            to_kept, to_removed = (
                ndimage.distance_transform_edt(~(mask[box] & inside), sampling=voxels.zooms)
                for mask in (kept, removed)
            )
            support[box] &= ~(inside & (to_removed < to_kept * (1 - ROUNDING)))
        parts = components(support, self.connectivity).labels
        return np.where(np.isin(parts, np.unique(parts[kept])), soft, np.float32(0))


class RemoveSmall(Removal, SmallObjects):
    """Remove objects smaller than a minimum. Example: `- remove_small: {minimum: 5, unit: mm3}`"""

    name: Literal["remove_small"] = "remove_small"

    def __call__(self, mask: BoolArray, voxels: Voxels) -> BoolArray:
        """Return the mask (X, Y, Z) without the small objects."""
        return self.without(mask, voxels.mm3)


class KeepLargest(Removal):
    """Keep only the object with the most voxels.

    Of equally large objects, the one with the first voxel in the order of the file's axes.

    Example: `- keep_largest: {connectivity: 26, apply_to: soft}`
    """

    name: Literal["keep_largest"] = "keep_largest"

    def __call__(self, mask: BoolArray, voxels: Voxels) -> BoolArray:  # noqa: ARG002
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
    apply_to: Literal["mask", "soft"] = "mask"
    """mask: change only the binary mask; soft: the soft segmentation as well. There, a voxel from
    which every path out leads over larger values is raised to the largest value on the lowest of
    these paths, which fills the holes at every threshold."""

    def __call__(self, mask: BoolArray, voxels: Voxels) -> BoolArray:
        """Return the mask (X, Y, Z) with its holes filled."""
        faces = ndimage.generate_binary_structure(3, 1)
        if self.over == "slice":
            np.moveaxis(faces, voxels.slice_axis, 0)[[0, 2]] = False
        return ndimage.binary_fill_holes(mask, faces)

    def soften(
        self,
        soft: Float32Array,
        foreground: BoolArray,  # noqa: ARG002
        kept: BoolArray,  # noqa: ARG002
        voxels: Voxels,
    ) -> Float32Array:
        """Return the soft segmentation (X, Y, Z) without basins: no value is lowered."""
        if self.over == "volume":
            return _without_basins(soft)
        slices = np.moveaxis(soft, voxels.slice_axis, 0)
        return np.moveaxis(np.stack(list(map(_without_basins, slices))), 0, voxels.slice_axis)


def _without_basins(values: Float32Array) -> Float32Array:
    """Return an image of two or three axes, by morphological reconstruction from its border."""
    import SimpleITK as sitk  # noqa: N813 - its own name for itself; slow to import

    image = sitk.GetImageFromArray(np.ascontiguousarray(values))
    return sitk.GetArrayFromImage(sitk.GrayscaleFillhole(image, fullyConnected=False))


PostprocessStep = Annotated[RemoveSmall | KeepLargest | FillHoles, SingleKey]


def postprocess(
    soft: Float32Array, threshold: float, steps: Sequence[PostprocessStep], voxels: Voxels
) -> tuple[Float32Array, BoolArray]:
    """Binarize a soft segmentation (X, Y, Z) in native space, and apply steps to both.

    Returns the soft segmentation, itself unless a step has `apply_to: soft`, and the mask.
    """
    mask = binarize(soft, threshold)
    for step in steps:
        mask = step(mask, voxels)
        if step.apply_to == "soft":
            soft = step.soften(soft, binarize(soft, threshold), mask, voxels)
    return soft, mask
