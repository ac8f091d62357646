"""How intensities are displayed: brightness, contrast and gamma."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import field_validator
from torch import Generator, Tensor

from softseg.augment.intensity.step import Contrasts, PointwiseStep
from softseg.augment.random_step import Limits, Parameters, sample_factors

_SMALL = 1e-7  # keeps a constant image from dividing by 0


class Brightness(PointwiseStep):
    """Multiplies the standardized intensities by a factor.

    Example: `- brightness: {factor: [0.75, 1.25], probability: 0.15}`
    """

    name: Literal["brightness"] = "brightness"
    factor: Limits = (0.75, 1.25)
    """Limits of the factor; half of the factors are below 1, half above."""

    def sample_parameters(self, shape: tuple[int, int], generator: Generator) -> Parameters:
        """Sample `factor`."""
        return {"factor": sample_factors(self.factor, shape, generator)}

    def map_values(self, image: Tensor, fill: Tensor, contrasts: Contrasts) -> None:
        """Multiply the values."""
        factor = contrasts.parameter("factor")[:, None]
        for values in (image, fill):
            values.mul_(factor)


class Contrast(PointwiseStep):
    """Multiplies the distance of each intensity from the image's mean.

    Example: `- contrast: {factor: [0.75, 1.25], probability: 0.15}`
    """

    name: Literal["contrast"] = "contrast"
    factor: Limits = (0.75, 1.25)
    """Limits of the factor; half of the factors are below 1, half above."""
    preserve_range: bool = True
    """Whether values beyond the image's former minimum and maximum become these."""

    def sample_parameters(self, shape: tuple[int, int], generator: Generator) -> Parameters:
        """Sample `factor`."""
        return {"factor": sample_factors(self.factor, shape, generator)}

    def map_values(self, image: Tensor, fill: Tensor, contrasts: Contrasts) -> None:
        """Stretch the values about the mean of the image."""
        factor = contrasts.parameter("factor")[:, None]
        mean = image.mean(dim=1, keepdim=True)
        limits = _range(image) if self.preserve_range else None
        for values in (image, fill):
            values.mul_(factor).add_(mean * (1 - factor))
            if limits is not None:
                values.clamp_(*limits)


class Gamma(PointwiseStep):
    """Raises the intensities, scaled to [0, 1] by the image's minimum and maximum, to a power.

    Source: nnU-Net's gamma augmentation (Isensee et al. 2021, supplementary note 2).

    Example: `- gamma: {exponent: [0.7, 1.5], probability: 0.3}`
    """

    name: Literal["gamma"] = "gamma"
    exponent: Limits = (0.7, 1.5)
    """Limits of the exponent, above 0; half of the exponents are below 1, half above."""
    inverted: bool = False
    """Whether the image is inverted before and after, so that bright intensities change most."""
    retain_statistics: bool = True
    """Whether the image keeps its mean and standard deviation."""

    @field_validator("exponent")
    @classmethod
    def _check_exponent(cls, exponent: Limits) -> Limits:
        if exponent[0] == 0:
            raise ValueError("an exponent of 0 leaves a constant image; take at least 0.1")
        return exponent

    def sample_parameters(self, shape: tuple[int, int], generator: Generator) -> Parameters:
        """Sample `exponent`."""
        return {"exponent": sample_factors(self.exponent, shape, generator)}

    def map_values(self, image: Tensor, fill: Tensor, contrasts: Contrasts) -> None:
        """Bend the intensities between the image's minimum and maximum."""
        exponent = contrasts.parameter("exponent")[:, None]
        low, high = _range(image)
        extent = (high - low).clamp(min=_SMALL)
        start, direction = (high, -1) if self.inverted else (low, 1)
        for values in (image, fill):  # the position from `start`, from 0 to 1
            values.sub_(start).mul_(direction / extent).clamp_(0, 1)
        mean, std = _mean_and_std(image)
        for values in (image, fill):
            values.log_().mul_(exponent).exp_()  # three times as fast as `pow`
        factor, shift = direction * extent, start
        if self.retain_statistics:
            bent_mean, bent_std = _mean_and_std(image)
            ratio = std / bent_std.clamp(min=_SMALL)
            factor, shift = factor * ratio, start + factor * (mean - bent_mean * ratio)
        for values in (image, fill):
            values.mul_(factor).add_(shift)


def _range(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return minimum and maximum (N, 1) of images (N, V); on a CPU, `aminmax` is much slower."""
    return image.amin(dim=1, keepdim=True), image.amax(dim=1, keepdim=True)


def _mean_and_std(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (N, 1) of images (N, V) with values from 0 to 1.

    On a CPU, `std_mean` is much slower, and here its accuracy for large means is not needed.
    """
    mean = image.mean(dim=1, keepdim=True)
    square = torch.linalg.vector_norm(image, dim=1, keepdim=True).square() / image.shape[1]
    return mean, (square - mean.square()).clamp(min=0).sqrt()
