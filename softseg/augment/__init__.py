"""Per batch, on the device, in training only: the affine, binarize, TorchIO's transforms."""

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
    """The steps of a YAML's `augment:` list, validated; `augment(batch, steps, generator)`."""
    steps: tuple[Step, ...] = parse_component(TypeAdapter(tuple[AugmentStep, ...]), spec)
    return steps


def augment(batch: Batch, steps: Sequence[Step], generator: Generator) -> Batch:
    """Apply the steps in their order; all randomness comes from `generator` (a CPU one)."""
    for step in steps:
        batch = step(batch, generator)
    return batch


def harden(target: Tensor, steps: Sequence[Step]) -> Tensor:
    """What validation does to its targets (B, K, H, W) for the loss: only what hardens them."""
    for step in steps:
        if isinstance(step, Binarize):
            target = step.harden(target)
    return target


def restandardize(batch: Batch) -> Batch:
    """Per-slice standardizing again, on the augmented slices: with `over: slice`, as published."""
    image, fill = standardize_slices(batch.image, batch.fill)
    return replace(batch, image=image, fill=fill)
