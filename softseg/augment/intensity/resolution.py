"""Loss of resolution: blur, and coarse voxels that are interpolated back."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Generator

from softseg.augment.intensity.step import Contrasts, IntensityStep
from softseg.augment.random_step import (
    Axes,
    Limits,
    Parameters,
    check_existing_axes,
    sample_uniform,
)
from softseg.augment.separable import smooth


class Blur(IntensityStep):
    """Smooths with a Gaussian; the ends of the image are mirrored.

    Example: `- blur: {sigma: [0.5, 1], probability: 0.2, probability_per_contrast: 0.5}`
    """

    name: Literal["blur"] = "blur"
    sigma: Limits = (0.5, 1.0)
    """Limits of the Gaussian's standard deviation in voxels of the network, sampled uniformly."""

    def sample_parameters(self, shape: tuple[int, int], generator: Generator) -> Parameters:
        """Sample `sigma`."""
        return {"sigma": sample_uniform(self.sigma, shape, generator)}

    def transform(self, contrasts: Contrasts) -> None:
        """Smooth along every axis."""
        radius = math.ceil(4 * self.sigma[1])
        contrasts.values.copy_(smooth(contrasts.values, contrasts.parameter("sigma"), radius))


class LowResolution(IntensityStep):
    """Keeps the nearest voxels of a coarser grid and interpolates linearly between them.

    Source: nnU-Net's simulated low resolution (Isensee et al. 2021, supplementary note 2).

    Example: `- low_resolution: {zoom: [0.5, 1], probability: 0.25}`
    """

    name: Literal["low_resolution"] = "low_resolution"
    zoom: Limits = (0.5, 1.0)
    """Limits of the fraction of voxels that remain along an axis, in (0, 1], sampled uniformly."""
    axes: Annotated[Axes, Field(min_length=1)] | None = None
    """Axes that lose resolution; null: all. All by the same factor."""

    def check_images(self, axes: int, contrasts: int) -> None:  # noqa: ARG002
        """Check that images have the axes of the step."""
        check_existing_axes("augment: low_resolution", self.axes or (), axes)

    @field_validator("zoom")
    @classmethod
    def _check_zoom(cls, zoom: Limits) -> Limits:
        if not (zoom[0] > 0 and zoom[1] <= 1):
            raise ValueError(f"{list(zoom)}: a fraction of the voxels is in (0, 1]")
        return zoom

    def sample_parameters(self, shape: tuple[int, int], generator: Generator) -> Parameters:
        """Sample `zoom`."""
        return {"zoom": sample_uniform(self.zoom, shape, generator)}

    def transform(self, contrasts: Contrasts) -> None:
        """Resample each image, whose coarse size differs from the others'."""
        size = contrasts.values.shape[1:]
        mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
        for values, zoom in zip(contrasts.values, contrasts.sampled["zoom"].tolist(), strict=True):
            coarse = [
                max(1, round(length * zoom)) if self.axes is None or axis in self.axes else length
                for axis, length in enumerate(size)
            ]
            low = F.interpolate(values[None, None], coarse, mode="nearest-exact")
            values.copy_(F.interpolate(low, list(size), mode=mode, align_corners=False)[0, 0])
