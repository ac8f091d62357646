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

_FLAT = 1e-6  # below this spread (a share of the largest value) only the mean is taken off


class Standardize(Component):
    """Mean centering and division by the standard deviation, each contrast alone (SoftSeg 2.3.4).

    Over the volume, the statistics come from the whole native scan before any crop, so training,
    ROI and patch prediction agree. Over the slice, they come from each preprocessed slice and
    again after augmentation, which is the published order.
    """

    name: Literal["standardize"] = "standardize"
    over: Literal["volume", "slice"] = "volume"
    """What the mean and standard deviation are taken over; `slice` must be the last step."""
    region: Literal["all", "nonzero", "roi"] = "all"
    """Which voxels count (over: volume only): all, those that are not 0 (skull-stripped scans),
    or those in the ROI mask (`dataset.roi`)."""

    @model_validator(mode="after")
    def _region_of_volumes(self) -> Self:
        if self.over == "slice" and self.region != "all":
            raise ValueError("region: needs over: volume; a slice is standardized over all of it")
        return self


def over_slices(steps: Iterable[object]) -> bool:
    """Whether a chain standardizes each slice on its own."""
    return any(isinstance(step, Standardize) and step.over == "slice" for step in steps)


@dataclass(frozen=True)
class Intensity:
    """How a contrast's raw values become the network's: (raw - mean) / std."""

    mean: float
    std: float
    background: float  # raw value taken as outside the body

    @property
    def fill(self) -> float:
        """The standardized background: what padding and rotated-in corners are filled with."""
        return (self.background - self.mean) / self.std


def intensity_of(volume: FloatArray, step: Standardize | None, roi: FloatArray | None) -> Intensity:
    """Measure one native contrast (X, Y, Z); without a volume-wise step nothing is changed.

    The background is raw 0, or the end of the scan's own range nearest to it. Raises UserError
    when the region holds no voxel.
    """
    background = float(np.clip(0.0, volume.min(), volume.max()))
    if step is None or step.over == "slice":
        return Intensity(0.0, 1.0, background)
    values = _region(volume, step.region, roi)
    if values.size == 0:
        message = f"no voxel to standardize over with region: {step.region}; use region: all"
        raise UserError(message)
    mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    flat = std <= _FLAT * float(np.abs(values).max())
    return Intensity(mean, 1.0 if flat else std, background)


def _region(volume: FloatArray, region: str, roi: FloatArray | None) -> FloatArray:
    if region == "nonzero":
        return np.asarray(volume[volume != 0])
    if region == "roi" and roi is not None:
        return np.asarray(volume[roi >= 0.5])
    return volume


def standardize_slices(image: Tensor, fill: Tensor) -> tuple[Tensor, Tensor]:
    """Each slice and contrast to mean 0, standard deviation 1 (the published, per-slice order).

    Parameters and result: image (S, C, H, W) and its background value, fill (S, C).
    """
    mean = image.mean(dim=(2, 3), keepdim=True)
    std = image.std(dim=(2, 3), correction=0, keepdim=True)
    flat = std <= _FLAT * image.abs().amax(dim=(2, 3), keepdim=True)
    std = torch.where(flat, torch.ones_like(std), std)
    return (image - mean) / std, (fill - mean[..., 0, 0]) / std[..., 0, 0]
