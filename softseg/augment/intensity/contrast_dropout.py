"""Missing contrasts."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator

from softseg.augment.intensity.step import Contrasts, IntensityStep
from softseg.augment.random_step import Parameters


class ContrastDropout(IntensityStep):
    """Replaces contrasts by their background, so that a network learns to do without them.

    At least one contrast of every sample remains: where all would go, a random one stays.

    Example: `- contrast_dropout: {probability: 0.2, probability_per_contrast: 0.25}`
    """

    name: Literal["contrast_dropout"] = "contrast_dropout"

    def check_images(self, axes: int, contrasts: int) -> None:  # noqa: ARG002
        """Check that a contrast can be dropped."""
        if contrasts == 1:
            raise ValueError(
                "augment: contrast_dropout: the only contrast always stays, so it does nothing; "
                "remove it"
            )

    def sample(self, shape: tuple[int, ...], generator: Generator) -> Parameters:
        """Sample `changed` (B, C): the contrasts that are dropped."""
        changed = super().sample(shape, generator)["changed"]
        stays = torch.rand(changed.shape, generator=generator).argmax(dim=1, keepdim=True)
        keep = torch.zeros_like(changed).scatter_(1, stays, True)
        return {"changed": changed & ~(changed.all(dim=1, keepdim=True) & keep)}

    def sample_parameters(self, shape: tuple[int, int], generator: Generator) -> Parameters:  # noqa: ARG002
        """There are none."""
        return {}

    def transform(self, contrasts: Contrasts) -> None:
        """Take the background everywhere."""
        contrasts.values.copy_(contrasts.spread(contrasts.fill).expand_as(contrasts.values))
