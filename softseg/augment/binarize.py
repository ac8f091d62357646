"""The only step that makes targets binary, for the "hard" candidates of an ablation."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field
from torch import Generator, Tensor

from softseg.augment.batch import Batch
from softseg.core.component import Component


class Binarize(Component):
    """Make the target 0 or 1, usually after all other steps (SoftSeg 2.1.1, Table 2).

    In validation the targets are binarized for the loss too.
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
