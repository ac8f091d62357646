"""One scan as a network sees it, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from softseg.config.experiment import Experiment
from softseg.core.errors import UserError
from softseg.core.types import Float32Array, Float64Array
from softseg.data.nifti.grid import Grid
from softseg.data.sample import Sample
from softseg.inference.patches import Size
from softseg.preprocess import Crop, Slices, Step
from softseg.preprocess.geometry import Geometry, center_of_mass, needs_roi, plan_geometry
from softseg.preprocess.preprocess import standardized_images
from softseg.preprocess.standardize import Standardize, standardizes_per_slice


@dataclass(frozen=True)
class View:
    """All slices of one scan, ready for the network."""

    image: Tensor  # (S, C, H, W) float32
    geometry: Geometry
    slices: Slices
    patch: Size | None  # the size of the slices in training; None: it was any
    by_slice: bool  # each patch is standardized on its own (the published order)

    def to_native(self, soft: Tensor) -> Float32Array:
        """Soft segmentation (S, K, H, W) -> (K, X, Y, Z) on the scan's own grid, in [0, 1]."""
        stacked = self.slices.stack(soft)
        return np.stack([self.geometry.to_native(target) for target in stacked])


def view_of(
    experiment: Experiment,
    sample: Sample,
    center: Sequence[float] | None = None,
    training_crop: bool = False,
) -> View:
    """Bring one scan to where the network was trained.

    Args:
        experiment: what the network was trained with.
        sample: the scan, with its ROI mask where there is one; masks are not looked at.
        center: of the box that is looked at, as an index of the scan's voxels (3,), in the place of
            an ROI's.
        training_crop: look only at the crop in the middle of the image, as in training
            of a larger scan is looked at.

    Raises UserError for a model that was trained around an ROI, where none is given, and for a
    center outside the image.
    """
    steps, slices = experiment.preprocess, every_slice(experiment.slices)
    middle = _center(steps, slices, sample, center)
    patch = _patch(steps, slices, sample.grid, middle)
    if not training_crop:
        steps = _widened(steps, slices, sample.grid)
    geometry = plan_geometry(sample.grid, steps, slices, middle)
    image, _ = standardized_images(sample, steps, geometry)
    return View(slices.cut(image), geometry, slices, patch, standardizes_per_slice(steps))


def every_slice(slices: Slices) -> Slices:
    """The same slices, none left out: every one is predicted."""
    return slices.model_copy(update={"exclude": ()})


def wants_roi(experiment: Experiment) -> bool:
    """Whether a scan can only be segmented with an ROI mask, or the middle of a box."""
    return needs_roi(experiment.preprocess, every_slice(experiment.slices))


def _center(
    steps: Sequence[Step], slices: Slices, sample: Sample, center: Sequence[float] | None
) -> Float64Array | None:
    """World position (3,) of the middle of the box, where the chain has one around an ROI."""
    if not needs_roi(steps, slices):
        return None
    by_roi = any(isinstance(step, Standardize) and step.region == "roi" for step in steps)
    if center is not None and not by_roi:
        _check_inside(center, sample.grid.shape)
        return np.asarray(sample.grid.affine @ [*center, 1.0])[:3]
    if sample.roi is None:
        other = "" if by_roi else ", or the middle of a box with --center"
        raise UserError(f"the model was trained around an ROI: give its mask with --roi{other}")
    middle = center_of_mass(sample.roi, sample.grid)
    if middle is None:
        raise UserError("the ROI mask is empty: mend it, or give the middle of a box with --center")
    return middle


def _check_inside(center: Sequence[float], shape: Sequence[int]) -> None:
    if not all(-0.5 <= at <= n - 0.5 for at, n in zip(center, shape, strict=True)):
        told = ",".join(f"{at:g}" for at in center)
        voxels = " x ".join(map(str, shape))
        raise UserError(
            f"--center {told} lies outside the image of {voxels} voxels: give the index of a "
            "voxel, from 0, not millimeters"
        )


def _patch(
    steps: Sequence[Step], slices: Slices, native: Grid, center: Float64Array | None
) -> Size | None:
    """The size of the slices in training; None where no crop makes it one."""
    if not any(isinstance(step, Crop) for step in steps):
        return None
    shape = plan_geometry(native, steps, slices, center).network.shape
    height, width = (shape[axis] for axis in slices.in_plane)
    return height, width


def crop_around(experiment: Experiment) -> Literal["image", "roi"] | None:
    """Around what training cropped; None where it looked at whole images."""
    steps = experiment.preprocess
    return next((step.around for step in steps if isinstance(step, Crop)), None)


def _widened(steps: Sequence[Step], slices: Slices, native: Grid) -> tuple[Step, ...]:
    """The chain with a crop that pads, but cuts nothing off; one around an ROI is left alone."""
    return tuple(
        _as_large(step, plan_geometry(native, steps[:n], slices, None), slices)
        if isinstance(step, Crop) and step.around == "image"
        else step
        for n, step in enumerate(steps)
    )


def _as_large(crop: Crop, before: Geometry, slices: Slices) -> Crop:
    """A crop that cuts nothing off the grid that the steps before it lead to."""
    shape = [before.network.shape[axis] for axis in slices.in_plane]
    size = tuple(max(pair) for pair in zip(crop.size, shape, strict=True))
    return crop.model_copy(update={"size": size})
