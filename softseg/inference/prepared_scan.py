"""A scan preprocessed for the network, and the inverse that brings a prediction back."""

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
class PreparedScan:
    """All slices of one scan, ready for the network."""

    image: Tensor  # (S, C, H, W) float32
    geometry: Geometry
    slices: Slices
    patch_size: Size | None  # of the slices in training; None: training did not fix it
    standardize_slices: bool  # each patch is standardized on its own (the paper's order)

    def to_native(self, soft: Tensor) -> Float32Array:
        """Soft segmentation (S, K, H, W) -> (K, X, Y, Z) on the scan's own grid, in [0, 1]."""
        return to_native(soft, self.slices, self.geometry)


def to_native(soft: Tensor, slices: Slices, geometry: Geometry) -> Float32Array:
    """Soft segmentation (S, K, H, W) of all slices -> (K, X, Y, Z) on the native grid, in [0, 1].

    It is 0 outside the crop.
    """
    return np.stack([geometry.to_native(target) for target in slices.stack(soft)])


def prepare_scan(
    experiment: Experiment,
    sample: Sample,
    center: Sequence[float] | None = None,
    training_crop: bool = False,
) -> PreparedScan:
    """Preprocess one scan as in training.

    Args:
        experiment: the training's configuration.
        sample: the scan, with its ROI mask if it has one; its target masks are ignored.
        center: index (3,) of the voxel in the middle of the box, instead of an ROI mask.
        training_crop: keep only the crop in the middle of the image, as in training; otherwise a
            larger scan is kept whole.

    Raises UserError for a model that was trained around an ROI if there is none, and for a center
    outside the image.
    """
    steps, slices = experiment.preprocess, every_slice(experiment.slices)
    middle = _box_center(steps, slices, sample, center)
    patch_size = None
    if any(isinstance(step, Crop) for step in steps):
        shape = plan_geometry(sample.grid, steps, slices, middle).network.shape
        height, width = (shape[axis] for axis in slices.in_plane)
        patch_size = (height, width)
    if not training_crop:
        steps = _without_cutting(steps, slices, sample.grid)
    geometry = plan_geometry(sample.grid, steps, slices, middle)
    image, _ = standardized_images(sample, steps, geometry)
    return PreparedScan(
        slices.cut(image), geometry, slices, patch_size, standardizes_per_slice(steps)
    )


def every_slice(slices: Slices) -> Slices:
    """The same options with no slice excluded, since every slice is predicted."""
    return slices.model_copy(update={"exclude": ()})


def requires_roi(experiment: Experiment) -> bool:
    """Whether a scan can be segmented only with an ROI mask or the middle of a box."""
    return needs_roi(experiment.preprocess, every_slice(experiment.slices))


def crop_around(experiment: Experiment) -> Literal["image", "roi"] | None:
    """What training cropped around; None if it used whole images."""
    steps = experiment.preprocess
    return next((step.around for step in steps if isinstance(step, Crop)), None)


def _box_center(
    steps: Sequence[Step], slices: Slices, sample: Sample, center: Sequence[float] | None
) -> Float64Array | None:
    """World position (3,) of the middle of the box; None if the steps need no ROI."""
    if not needs_roi(steps, slices):
        return None
    needs_mask = any(isinstance(step, Standardize) and step.region == "roi" for step in steps)
    if center is not None and not needs_mask:
        shape = sample.grid.shape
        if not all(-0.5 <= at <= n - 0.5 for at, n in zip(center, shape, strict=True)):
            raise UserError(
                f"--center {','.join(f'{at:g}' for at in center)} is outside the image of "
                f"{' x '.join(map(str, shape))} voxels; give the index of a voxel, from 0, not "
                "millimeters"
            )
        return np.asarray(sample.grid.affine @ [*center, 1.0])[:3]
    if sample.roi is None:
        other = "" if needs_mask else ", or the middle of a box with --center"
        raise UserError(f"the model was trained around an ROI: give its mask with --roi{other}")
    middle = center_of_mass(sample.roi, sample.grid)
    if middle is None:
        raise UserError("the ROI mask is empty; fix it, or give the middle of a box with --center")
    return middle


def _without_cutting(steps: Sequence[Step], slices: Slices, native: Grid) -> tuple[Step, ...]:
    """The steps with a crop around the image that only pads; one around an ROI stays as it is."""
    changed: list[Step] = []
    for number, step in enumerate(steps):
        if isinstance(step, Crop) and step.around == "image":
            before = plan_geometry(native, steps[:number], slices, None).network.shape
            pairs = zip(step.size, (before[axis] for axis in slices.in_plane), strict=True)
            changed.append(step.model_copy(update={"size": tuple(max(pair) for pair in pairs)}))
        else:
            changed.append(step)
    return tuple(changed)
