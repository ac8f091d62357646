"""Augmentation of batches in training, on the device: affine, binarize, TorchIO's transforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field
from torch import Generator, Tensor

from softseg.augment.affine import Affine, apply_affine
from softseg.augment.batch import Batch
from softseg.augment.torchio import TorchioTransform
from softseg.core.component import Component, SingleKey
from softseg.preprocess.steps import Standardize, standardize_slices

__all__ = [
    "Affine",
    "AugmentStep",
    "Batch",
    "Binarize",
    "TorchioTransform",
    "apply_affine",
    "augment",
    "harden",
    "restandardize",
]


class Binarize(Component):
    """Make the target 0 or 1, usually after all other steps.

    Source: Gros et al. 2020, section 2.1.1 and Table 2. In validation the targets are binarized
    for the loss too.

    Example: `- binarize: {threshold: 0.5}`
    """

    name: Literal["binarize"] = "binarize"
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Values at or above it become 1."""

    def __call__(self, batch: Batch, generator: Generator | None = None) -> Batch:  # noqa: ARG002
        """Return the batch with a hard target; this step is not random."""
        return replace(batch, target=self.harden(batch.target))

    def harden(self, target: Tensor) -> Tensor:
        """Return the target (B, K, H, W) as float32 of 0 and 1."""
        return (target >= self.threshold).to(target.dtype)


AugmentStep = Annotated[Affine | Binarize | TorchioTransform, SingleKey]


def augment(batch: Batch, steps: Sequence[AugmentStep], generator: Generator) -> Batch:
    """Apply the steps in their order; all randomness comes from `generator` (a CPU one)."""
    for step in steps:
        batch = step(batch, generator)
    return batch


def harden(target: Tensor, steps: Sequence[AugmentStep]) -> Tensor:
    """Apply only the steps that binarize, to a validation target (B, K, H, W), for the loss."""
    for step in steps:
        if isinstance(step, Binarize):
            target = step.harden(target)
    return target


def restandardize(batch: Batch, step: Standardize) -> Batch:
    """Standardize the augmented slices again: the order of the paper, with `over: slice`."""
    image, fill = standardize_slices(batch.image, batch.fill, step.joint)
    return replace(batch, image=image, fill=fill)
