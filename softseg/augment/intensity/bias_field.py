"""The smooth change of brightness across a scan that a receive coil causes."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from softseg.augment.intensity.step import Contrasts, IntensityStep
from softseg.augment.random_step import Limits, Parameters, sample_seeds, sample_uniform, seeded
from softseg.augment.separable import along_axes, power_matrix
from softseg.core.device import to_device


class BiasField(IntensityStep):
    """Multiplies the signal by the exponential of a random polynomial of the position.

    The signal is counted from the scan's background (`dataset.fill`), which stays what it is.
    Source: Van Leemput et al. 1999; the polynomial is that of TorchIO's RandomBiasField.

    Example: `- bias_field: {strength: [0, 0.5], probability: 0.15}`
    """

    name: Literal["bias_field"] = "bias_field"
    strength: Limits = (0.0, 0.5)
    """Limits of the strength, sampled uniformly. Coefficients are uniform in +- strength, and the
    position is from -1 to 1 on each axis: a linear term of 0.5 makes one end of the image 2.7 times
    as bright as the other."""
    order: Annotated[int, Field(ge=1, le=5)] = 3
    """Order of the polynomial."""

    def sample_parameters(self, shape: tuple[int, int], generator: Generator) -> Parameters:
        """Sample `strength` and, for the coefficients, a `seed`."""
        strength = sample_uniform(self.strength, shape, generator)
        return {"strength": strength, "seed": sample_seeds(shape, generator)}

    def transform(self, contrasts: Contrasts) -> None:
        """Multiply the signal by the field."""
        values, strength = contrasts.values, contrasts.spread(contrasts.parameter("strength"))
        sizes = values.shape[1:]
        drawn = torch.stack(
            [self._coefficients(len(sizes), seed) for seed in contrasts.sampled["seed"].tolist()]
        )
        coefficients = to_device(drawn, values.device) * strength
        powers = [
            power_matrix(size, self.order, values).expand(len(values), -1, -1) for size in sizes
        ]
        field = along_axes(coefficients, powers).exp_()
        fill = contrasts.spread(contrasts.fill)
        values.sub_(fill).mul_(field).add_(fill)

    def _coefficients(self, axes: int, seed: int) -> Tensor:
        """Coefficients (order + 1, ...) in [-1, 1] of all terms up to the order; constant 0."""
        shape = (self.order + 1,) * axes
        coefficients = 2 * torch.rand(shape, generator=seeded(seed)) - 1
        for powers in itertools.product(range(self.order + 1), repeat=axes):
            if not 1 <= sum(powers) <= self.order:
                coefficients[powers] = 0
        return coefficients
