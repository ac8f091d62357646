"""Convex combinations of the samples of a batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from softseg.augment.batch import Batch
from softseg.augment.random_step import Parameters, RandomStep, sample_events
from softseg.core.device import to_device


class Mixup(RandomStep):
    """Mixes each sample with another one of its batch: images and soft targets by the same share.

    A voxel that is ignored in either sample is ignored. Source: Zhang et al. 2018 (mixup).

    Example: `- mixup: {alpha: 0.2, probability: 0.5}`
    """

    name: Literal["mixup"] = "mixup"
    alpha: Annotated[float, Field(gt=0)] = 0.2
    """The share of a sample is sampled from Beta(alpha, alpha), and the larger part is its own."""

    def sample(self, shape: tuple[int, ...], generator: Generator) -> Parameters:
        """Sample `share` (B,), in [0.5, 1], of each sample itself, and its `partner` (B,)."""
        count = shape[0]
        changed = sample_events(self.probability, (count,), generator)
        seed = int(torch.randint(2**62, (1,), generator=generator))
        # torch's Beta distribution takes its random numbers from the global generator
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            share = torch.distributions.Beta(self.alpha, self.alpha).sample((count,))
        share = torch.where(changed, torch.maximum(share, 1 - share), 1.0)
        return {"share": share, "partner": torch.randperm(count, generator=generator)}

    def apply(self, batch: Batch, parameters: Parameters) -> Batch:
        """Mix the samples; the batch holds the samples of all processes."""
        share = to_device(parameters["share"], batch.image.device)
        partner = to_device(parameters["partner"], batch.image.device)

        def mix(values: Tensor) -> Tensor:
            own = share.view(-1, *[1] * (values.dim() - 1))
            return own * values + (1 - own) * values[partner]

        ignore = batch.ignore
        if ignore is not None:
            mixed = share.view(-1, *[1] * (ignore.dim() - 1)) < 1
            ignore = torch.where(mixed, ignore.maximum(ignore[partner]), ignore)
        return replace(
            batch,
            image=mix(batch.image),
            target=mix(batch.target).clamp(0, 1),
            fill=mix(batch.fill),
            ignore=ignore,
            weight=None if batch.weight is None else mix(batch.weight),
        )
