"""The steps of the preprocessing chain: standardize, resample, crop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
import torch
from pydantic import AfterValidator, Field, model_validator
from torch import Tensor

from softseg.core.component import Component, SingleKey
from softseg.core.errors import UserError
from softseg.core.types import FloatArray
from softseg.data.nifti.grid import Grid
from softseg.preprocess.interpolation import Interpolation, Order
from softseg.preprocess.samples import Samples

Size = Annotated[int, Field(ge=1, le=16384)]
Zoom = Annotated[float, Field(gt=0)] | None

_FLAT = 1e-6  # relative to the largest value: below this standard deviation nothing is divided
_SAME = 1e-3  # relative difference below which two zooms count as equal: headers round


class Standardize(Component):
    """Subtract the mean and divide by the standard deviation, for each contrast on its own.

    Source: Gros et al. 2020, section 2.3.4.

    Over the volume, the statistics come from the whole native scan before any crop, so training,
    ROI and patch prediction agree. Over the slice, they come from each preprocessed slice and
    again after augmentation, which is the order of the paper.
    """

    name: Literal["standardize"] = "standardize"
    over: Literal["volume", "slice"] = "volume"
    """Over what the mean and standard deviation are computed; `slice` must be the last step."""
    region: Literal["all", "nonzero", "roi"] = "all"
    """Which voxels count (over: volume only): all, those that are not raw 0 (skull-stripped scans;
    not for CT or standardized scans, in which 0 is tissue), or those in the ROI mask
    (`dataset.roi`)."""
    joint: bool = False
    """One mean and one standard deviation over the voxels of all contrasts together, as in the
    published runs of Gros et al. 2020 (ivadomed 2.2; the paper describes one for each contrast).
    Not recommended: the contrast with the largest values determines both, so another scanner's
    scale of one contrast changes what the network sees of all of them."""

    @model_validator(mode="after")
    def _region_of_volumes(self) -> Self:
        if self.over == "slice" and self.region != "all":
            raise ValueError("region: needs over: volume; a slice is standardized over all of it")
        return self


class Resample(Component):
    """Resample every volume to the same voxel size (Gros et al. 2020, section 2.3.2).

    The field of view keeps its center; its size is rounded to whole voxels.
    """

    name: Literal["resample"] = "resample"
    zooms: tuple[Zoom, Zoom, Zoom]
    """Voxel size in mm along right-left, posterior-anterior, inferior-superior; null keeps the
    axis as it is (the paper resamples in plane only)."""
    image_order: Order = 2
    """Spline order for images (the paper: 2)."""
    label_order: Interpolation = 1
    """Spline order for masks (the paper: 1, linear); orders above 1 overshoot and are clipped to
    [0, 1]. A spline is evaluated at voxel centers: at twice the voxel size it averages two voxels
    along an axis of even length and takes every other voxel along one of odd length. `mean`: along
    axes where voxels grow, the mean over each new voxel, which is its exact partial volume."""

    def __call__(self, grid: Grid) -> Grid:
        """Return the grid (canonical orientation) after this step."""
        old = grid.zooms
        asked = np.array([o if z is None else z for o, z in zip(old, self.zooms, strict=True)])
        new = np.where(np.abs(asked / old - 1) < _SAME, old, asked)
        size = np.array(grid.shape)
        shape = np.maximum(1, np.rint(size * old / new)).astype(int)
        step = new / old
        scaling = np.diag([*step, 1.0])
        scaling[:3, 3] = ((size - 1) - (shape - 1) * step) / 2
        return Grid((int(shape[0]), int(shape[1]), int(shape[2])), grid.affine @ scaling)


class Crop(Component):
    """Crop (or pad) each volume to a box: of one size in plane, or along all three axes.

    Slices of one size can share a batch. For a 3D network, the box is what its patches are cut
    from, and need not be.
    """

    name: Literal["crop"] = "crop"
    size: Annotated[tuple[Size, ...], Field(min_length=2, max_length=3)]
    """Two numbers: pixels along the two axes of the plane (`slices.axis`) in the order right-left,
    posterior-anterior, inferior-superior (axial slices: right-left x posterior-anterior); the third
    axis stays whole. Three numbers: voxels along all axes in that order."""
    around: Literal["image", "roi"] = "image"
    """Center of the box: the center of the field of view, or the center of mass of the ROI mask
    (`dataset.roi`); a model trained around an ROI needs one to predict."""

    def axes(self, plane: tuple[int, int]) -> tuple[int, ...]:
        """Return the volume axes that are cropped, in the order of `size`."""
        return plane if len(self.size) == 2 else (0, 1, 2)

    def __call__(self, grid: Grid, plane: tuple[int, int], center: FloatArray | None) -> Grid:
        """Return the grid after this step; `center` is the ROI's center in world mm, (3,)."""
        shape, start = list(grid.shape), np.zeros(3, dtype=int)
        for axis, size in zip(self.axes(plane), self.size, strict=True):
            shape[axis] = size
            if self.around == "image" or center is None:
                start[axis] = (grid.shape[axis] - size) // 2
            else:
                index = np.linalg.solve(grid.affine, np.append(center, 1.0))
                # rounded first, so that noise of the inverse affine does not decide about halves
                start[axis] = int(np.rint(np.round(index[axis] - (size - 1) / 2, 4)))
        shift = np.eye(4)
        shift[:3, 3] = start
        return Grid((shape[0], shape[1], shape[2]), grid.affine @ shift)


Step = Standardize | Resample | Crop


def _validate_steps(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Reject a step that appears twice, and standardization per slice before another step."""
    names = [step.name for step in steps]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"`{name}` appears twice; each preprocessing step may appear once")
    for step in steps[:-1]:
        if isinstance(step, Standardize) and step.over == "slice":
            raise ValueError("`standardize: {over: slice}` must be the last step")
    return steps


Chain = Annotated[tuple[Annotated[Step, SingleKey], ...], AfterValidator(_validate_steps)]


def needs_roi(steps: Sequence[Step], samples: Samples) -> bool:
    """Return whether a chain uses an ROI mask."""
    return "no_roi" in samples.excluded or any(
        (isinstance(step, Crop) and step.around == "roi")
        or (isinstance(step, Standardize) and step.region == "roi")
        for step in steps
    )


def slice_standardization(steps: Sequence[Step]) -> Standardize | None:
    """Return the step of a chain that standardizes each slice on its own; None if it has none."""
    return next((s for s in steps if isinstance(s, Standardize) and s.over == "slice"), None)


def label_interpolation(steps: Sequence[Step]) -> Interpolation:
    """Return how a chain interpolates masks: linearly unless its `resample` step differs."""
    return next((step.label_order for step in steps if isinstance(step, Resample)), 1)


@dataclass(frozen=True)
class Intensity:
    """How a contrast's values become the network's: (value - mean) / std."""

    mean: float
    std: float


def measure_intensity(
    volume: FloatArray, step: Standardize | None, roi: FloatArray | None, outside: float = 0.0
) -> Intensity:
    """Measure a native contrast (X, Y, Z), or several (C, X, Y, Z) together.

    Without a volume-wise step values stay as they are. The mean is relative to the raw value
    `outside`. Raises UserError when the region holds no voxel.
    """
    if step is None or step.over == "slice":
        return Intensity(0.0, 1.0)
    values = volume
    if step.region == "nonzero":
        values = volume[volume != 0]
    elif step.region == "roi" and roi is not None:
        values = volume[..., roi >= 0.5]
    if values.size == 0:
        message = f"no voxel to standardize over with region: {step.region}; use region: all"
        raise UserError(message)
    relative = values - np.float32(outside)
    mean, std = float(relative.mean(dtype=np.float64)), float(relative.std(dtype=np.float64))
    flat = std <= _FLAT * float(np.abs(values).max())
    return Intensity(mean, 1.0 if flat else std)


def standardize_slices(image: Tensor, fill: Tensor, joint: bool) -> tuple[Tensor, Tensor]:
    """Return each slice and contrast with mean 0 and standard deviation 1, and its background.

    image (S, C, H, W) and its background value, fill (S, C); the results have the same shapes. With
    `joint`, all contrasts of a slice share their mean and standard deviation.
    """
    pixels = (1, 2, 3) if joint else (2, 3)
    mean = image.mean(dim=pixels, keepdim=True)
    std = image.std(dim=pixels, correction=0, keepdim=True)
    flat = std <= _FLAT * image.abs().amax(dim=pixels, keepdim=True)
    std = torch.where(flat, torch.ones_like(std), std)
    return (image - mean) / std, (fill - mean[..., 0, 0]) / std[..., 0, 0]
