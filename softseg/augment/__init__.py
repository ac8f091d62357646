"""Augmentation of batches in training, on the device: affine, binarize, TorchIO's transforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from torch import Generator, Tensor

from softseg.augment.affine import Affine, apply_affine
from softseg.augment.batch import Batch
from softseg.augment.binarize import Binarize
from softseg.augment.torchio import TorchioTransform
from softseg.core.component import parse_component, single_key_union
from softseg.preprocess.standardize import standardize_slices

__all__ = [
    "Affine",
    "AugmentStep",
    "Batch",
    "Binarize",
    "TorchioTransform",
    "apply_affine",
    "augment",
    "build",
    "harden",
    "restandardize",
]

Step = Affine | Binarize | TorchioTransform
if TYPE_CHECKING:
    AugmentStep = Step
else:
    AugmentStep = single_key_union(Step)


def build(spec: Any) -> tuple[Step, ...]:
    """Validate a YAML's `augment:` list and return its steps, for `augment`."""
    steps: tuple[Step, ...] = parse_component(TypeAdapter(tuple[AugmentStep, ...]), spec)
    return steps


def augment(batch: Batch, steps: Sequence[Step], generator: Generator) -> Batch:
    """Apply the steps in their order; all randomness comes from `generator` (a CPU one)."""
    for step in steps:
        batch = step(batch, generator)
    return batch


def harden(target: Tensor, steps: Sequence[Step]) -> Tensor:
    """Apply only the steps that binarize, to a validation target (B, K, H, W), for the loss."""
    for step in steps:
        if isinstance(step, Binarize):
            target = step.harden(target)
    return target


def restandardize(batch: Batch) -> Batch:
    """Standardize the augmented slices again: the order of the paper, with `over: slice`."""
    image, fill = standardize_slices(batch.image, batch.fill)
    return replace(batch, image=image, fill=fill)
