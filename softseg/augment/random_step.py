"""What all random steps share: a probability per sample, and parameters sampled before use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, TypeAlias

import torch
from pydantic import AfterValidator, Field
from torch import Generator, Tensor

from softseg.augment.batch import Batch
from softseg.core.component import Component, check_distinct

Parameters: TypeAlias = Mapping[str, Tensor]  # name -> (B, ...), on the CPU
Probability = Annotated[float, Field(ge=0, le=1)]


def _check_order(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"{list(limits)}: the lower limit comes first")
    return limits


def _check_sign(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] < 0:
        raise ValueError(f"{list(limits)}: must not be negative")
    return limits


Limits = Annotated[tuple[float, float], AfterValidator(_check_order), AfterValidator(_check_sign)]
"""Lower and upper limit of a quantity that is not negative."""
Axes = Annotated[tuple[Annotated[int, Field(ge=0, le=2)], ...], AfterValidator(check_distinct)]
"""Axes of a sample: 0 and 1 of a slice, 0 to 2 of a patch."""


class RandomStep(Component, ABC):
    """A step that changes a sample with a probability.

    All random numbers come from the generator of the batch, for the samples of all processes, so
    that a sample's numbers do not depend on how a batch is divided.
    """

    probability: Probability = 1.0
    """Probability that a sample is changed."""

    def check_images(self, axes: int, contrasts: int) -> None:
        """Raise ValueError if the step does not fit images with so many axes and contrasts."""

    @abstractmethod
    def sample(self, shape: tuple[int, ...], generator: Generator) -> Parameters:
        """Sample the parameters of a whole batch of images (B, C, *spatial) with C contrasts."""

    @abstractmethod
    def apply(self, batch: Batch, parameters: Parameters) -> Batch:
        """Return this process's part of the batch, transformed with its parameters."""

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        """Sample parameters and apply them."""
        return self.apply(batch, self.sample_part(batch, generator))

    def sample_part(self, batch: Batch, generator: Generator) -> Parameters:
        """Sample the parameters of the whole batch; return those of this process's part."""
        channels, *spatial = batch.image.shape[1:]
        parameters = self.sample((batch.batch_size, channels // batch.slices, *spatial), generator)
        return {name: batch.own_share(values) for name, values in parameters.items()}


def check_existing_axes(step: str, named: Sequence[int], axes: int) -> None:
    """Raise ValueError if a step names an axis that images do not have."""
    if missing := [axis for axis in named if axis >= axes]:
        raise ValueError(f"{step}: axes: no axis {missing[0]}; slices have the axes 0 and 1")


def sample_uniform(limits: tuple[float, float], shape: tuple[int, ...], rng: Generator) -> Tensor:
    """Sample uniformly between two limits; equal limits are a constant."""
    low, high = limits
    return low + (high - low) * torch.rand(shape, generator=rng)


def sample_factors(limits: tuple[float, float], shape: tuple[int, ...], rng: Generator) -> Tensor:
    """Sample factors: half of them uniformly below 1, half above, as in nnU-Net.

    Limits that do not enclose 1 are sampled uniformly.
    """
    low, high = limits
    if not low < 1 < high:
        return sample_uniform(limits, shape, rng)
    position = 2 * torch.rand(shape, generator=rng)
    return torch.where(position < 1, low + (1 - low) * position, 1 + (high - 1) * (position - 1))


def sample_events(probability: float, shape: tuple[int, ...], rng: Generator) -> Tensor:
    """Sample bools that are true with a probability; certain ones take no random numbers."""
    if probability == 1:
        return torch.ones(shape, dtype=torch.bool)
    return torch.rand(shape, generator=rng) < probability


def sample_seeds(shape: tuple[int, ...], rng: Generator) -> Tensor:
    """Sample seeds for the many random numbers that each sample needs, such as its noise."""
    return torch.randint(2**62, shape, generator=rng)


def seeded(seed: int) -> Generator:
    """Return a generator on the CPU with this seed."""
    return torch.Generator().manual_seed(seed)
