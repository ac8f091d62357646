"""Noise of the scanner."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor

from softseg.augment.intensity.step import Contrasts, IntensityStep
from softseg.augment.random_step import (
    Limits,
    Parameters,
    sample_seeds,
    sample_uniform,
    seeded,
)
from softseg.core.device import to_device


class Noise(IntensityStep):
    """Adds Gaussian or Rician noise.

    Rician noise is that of a magnitude image: sqrt((signal + n1)² + n2²), where the signal is
    counted from the scan's background (`dataset.fill`). Source: Gudbjartsson and Patz 1995.

    Example: `- noise: {std: [0, 0.1], probability: 0.1}`
    """

    name: Literal["noise"] = "noise"
    std: Limits = (0.0, 0.1)
    """Limits of the noise's standard deviation, sampled uniformly; in standardized intensities, so
    1 is the standard deviation of the scan."""
    distribution: Literal["gaussian", "rician"] = "gaussian"
    """Distribution of the noise: gaussian | rician."""

    def sample(self, shape: tuple[int, ...], generator: Generator) -> Parameters:
        """Sample also a `seed` (B, C): contrasts never share their noise itself."""
        parameters = super().sample(shape, generator)
        return {**parameters, "seed": sample_seeds(shape[:2], generator)}

    def sample_parameters(self, shape: tuple[int, int], generator: Generator) -> Parameters:
        """Sample `std`."""
        return {"std": sample_uniform(self.std, shape, generator)}

    def for_slices(self, parameters: Parameters, slices: int) -> Parameters:
        """Give each slice noise of its own, with the same standard deviation."""
        repeated = super().for_slices(parameters, slices)
        # 2 apart, since Rician noise takes two seeds
        offsets = 2 * torch.arange(slices).repeat_interleave(parameters["seed"].shape[1])
        return {**repeated, "seed": repeated["seed"] + offsets}

    def transform(self, contrasts: Contrasts) -> None:
        """Add the noise."""
        values, std = contrasts.values, contrasts.spread(contrasts.parameter("std"))
        noise = std * self._standard_noise(contrasts)
        if self.distribution == "gaussian":
            values.add_(noise)
            return
        fill = contrasts.spread(contrasts.fill)
        other = std * self._standard_noise(contrasts, second=True)
        values.sub_(fill).add_(noise).hypot_(other).add_(fill)

    def _standard_noise(self, contrasts: Contrasts, *, second: bool = False) -> Tensor:
        """Sample noise (N, *spatial) with a standard deviation of 1, or its second part."""
        noise = torch.empty(contrasts.values.shape)
        for one, seed in zip(noise, contrasts.sampled["seed"].tolist(), strict=True):
            one.normal_(generator=seeded(seed + second))
        return to_device(noise, contrasts.values.device, pin=True)
