"""The step that gives each contrast mean 0 and standard deviation 1."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from pydantic import model_validator
from torch import Tensor

from softseg.core.component import Component
from softseg.core.errors import UserError
from softseg.core.types import FloatArray

_FLAT = 1e-6  # relative to the largest value: below this standard deviation nothing is divided


class Standardize(Component):
    """Subtract the mean and divide by the standard deviation, for each contrast (SoftSeg 2.3.4).

    Over the volume, the statistics come from the whole native scan before any crop, so training,
    ROI and patch prediction agree. Over the slice, they come from each preprocessed slice and
    again after augmentation, which is the order of the paper.
    """

    name: Literal["standardize"] = "standardize"
    over: Literal["volume", "slice"] = "volume"
    """Over what the mean and standard deviation are computed; `slice` must be the last step."""
    region: Literal["all", "nonzero", "roi"] = "all"
    """Which voxels count (over: volume only): all, those that are not 0 (skull-stripped scans),
    or those in the ROI mask (`dataset.roi`)."""

    @model_validator(mode="after")
    def _region_of_volumes(self) -> Self:
        if self.over == "slice" and self.region != "all":
            raise ValueError("region: needs over: volume; a slice is standardized over all of it")
        return self


def standardizes_per_slice(steps: Iterable[object]) -> bool:
    """Return whether a chain standardizes each slice on its own."""
    return any(isinstance(step, Standardize) and step.over == "slice" for step in steps)


@dataclass(frozen=True)
class Intensity:
    """How a contrast's raw values become the network's: (raw - mean) / std."""

    mean: float
    std: float
    background: float  # raw value that counts as outside the body

    @property
    def fill(self) -> float:
        """The standardized background, with which padding and rotated-in corners are filled."""
        return (self.background - self.mean) / self.std


def measure_intensity(
    volume: FloatArray, step: Standardize | None, roi: FloatArray | None
) -> Intensity:
    """Measure one native contrast (X, Y, Z); without a volume-wise step values stay as they are.

    The background is raw 0, or the end of the scan's own range nearest to it. Raises UserError
    when the region holds no voxel.
    """
    background = float(np.clip(0.0, volume.min(), volume.max()))
    if step is None or step.over == "slice":
        return Intensity(0.0, 1.0, background)
    values = volume
    if step.region == "nonzero":
        values = volume[volume != 0]
    elif step.region == "roi" and roi is not None:
        values = volume[roi >= 0.5]
    if values.size == 0:
        message = f"no voxel to standardize over with region: {step.region}; use region: all"
        raise UserError(message)
    mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    flat = std <= _FLAT * float(np.abs(values).max())
    return Intensity(mean, 1.0 if flat else std, background)


def standardize_slices(image: Tensor, fill: Tensor) -> tuple[Tensor, Tensor]:
    """Return each slice and contrast with mean 0 and standard deviation 1, and its background.

    image (S, C, H, W) and its background value, fill (S, C); the results have the same shapes.
    """
    mean = image.mean(dim=(2, 3), keepdim=True)
    std = image.std(dim=(2, 3), correction=0, keepdim=True)
    flat = std <= _FLAT * image.abs().amax(dim=(2, 3), keepdim=True)
    std = torch.where(flat, torch.ones_like(std), std)
    return (image - mean) / std, (fill - mean[..., 0, 0]) / std[..., 0, 0]
