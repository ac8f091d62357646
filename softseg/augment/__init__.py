"""Augmentation of batches in training, on the device."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field
from torch import Generator, Tensor

from softseg.augment.batch import Batch
from softseg.augment.intensity import (
    BiasField,
    Blur,
    Brightness,
    Contrast,
    ContrastDropout,
    Gamma,
    IntensityStep,
    LowResolution,
    Noise,
)
from softseg.augment.mixup import Mixup
from softseg.augment.random_step import RandomStep
from softseg.augment.spatial import Affine, Elastic, Flip, SpatialStep, move
from softseg.augment.torchio import TorchioTransform
from softseg.core.component import Component, SingleKey
from softseg.preprocess.steps import Standardize, standardize_slices

__all__ = [
    "Affine",
    "AugmentStep",
    "Batch",
    "BiasField",
    "Binarize",
    "Blur",
    "Brightness",
    "Contrast",
    "ContrastDropout",
    "Elastic",
    "Flip",
    "Gamma",
    "LowResolution",
    "Mixup",
    "Noise",
    "RandomStep",
    "SpatialStep",
    "TorchioTransform",
    "augment",
    "harden",
    "interpolates",
    "interpolating_names",
    "move",
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


AugmentStep = Annotated[
    Affine
    | Elastic
    | Flip
    | Noise
    | Blur
    | LowResolution
    | Brightness
    | Contrast
    | Gamma
    | BiasField
    | ContrastDropout
    | Mixup
    | Binarize
    | TorchioTransform,
    SingleKey,
]


def augment(batch: Batch, steps: Sequence[AugmentStep], generator: Generator) -> Batch:
    """Apply the steps in their order; all randomness comes from `generator` (a CPU one).

    Spatial steps are composed into one interpolation, where the first of them is; steps that
    change only intensities may be between them, since the order of the two does not matter for
    targets. Patches are interpolated from their whole volumes, which no other step has changed: the
    spatial steps are then applied before those that change intensities. Tensors of the batch may be
    overwritten, but not those of its `sources`.
    """
    for composable, section in itertools.groupby(steps, _is_composable):
        if composable:
            batch = _apply_composed(
                batch, [step for step in section if isinstance(step, RandomStep)], generator
            )
        else:
            for step in section:
                batch = step(batch, generator)
        batch = replace(batch, sources=())
    return replace(batch, sources=())


def _is_composable(step: AugmentStep) -> bool:
    """Return whether a step may be between spatial steps that are composed."""
    return isinstance(step, SpatialStep | IntensityStep)


def _apply_composed(batch: Batch, steps: Sequence[RandomStep], generator: Generator) -> Batch:
    """Sample the parameters of all steps, and apply the spatial ones together."""
    sampled = [(step, step.sample_part(batch, generator)) for step in steps]
    spatial = [(step, values) for step, values in sampled if isinstance(step, SpatialStep)]
    if batch.sources and spatial:
        batch, spatial = move(batch, spatial), []
    for step, values in sampled:
        if not isinstance(step, SpatialStep):
            batch = step.apply(batch, values)
        elif spatial:
            batch = move(batch, spatial)
            spatial = []
    return batch


def interpolates(step: AugmentStep) -> bool:
    """Return whether a step interpolates or mixes masks, which blurs them."""
    if isinstance(step, TorchioTransform):
        return step.bends
    return isinstance(step, Affine | Elastic | Mixup)


def interpolating_names(steps: Sequence[AugmentStep]) -> str:
    """Return the names of the steps that `interpolates` is true of: `affine, elastic`, or ``."""
    return ", ".join(dict.fromkeys(step.name for step in steps if interpolates(step)))


def harden(target: Tensor, steps: Sequence[AugmentStep]) -> Tensor:
    """Apply only the steps that binarize, to a validation target (B, K, H, W), for the loss."""
    for step in steps:
        if isinstance(step, Binarize):
            target = step.harden(target)
    return target


def restandardize(batch: Batch, step: Standardize) -> Batch:
    """Standardize the augmented slices again: the order of the paper, with `over: slice`."""
    # a slice and its neighbors each on their own
    shape = (len(batch.image) * batch.slices, -1)
    image = batch.image.reshape(*shape, *batch.image.shape[2:])
    image, fill = standardize_slices(image, batch.fill.reshape(shape), step.joint)
    return replace(batch, image=image.view_as(batch.image), fill=fill.view_as(batch.fill))
