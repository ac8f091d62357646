"""The second Jaccard metric loss: product as overlap, the L1 distance as what is missing."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from softseg.losses.reduction import OverlapLoss


class Jml2(OverlapLoss):
    """1 - (I + s) / (I + sum(|p - y|) + s), I = sum(p y), for each target.

    For hard targets it is the soft Jaccard loss.

    Source: Wang, Ning and Blaschko, Jaccard Metric Losses, NeurIPS 2023 (arXiv 2302.05666).

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is the soft Jaccard loss, whose minimum is at hard masks: average the labels instead.

    Range: 0 to 1. Gradient: 0 at the minimum itself, but beside it each voxel pulls with
    1 / (sum(y^2) + s), however small its error; pale targets pull harder than with `jml1`.
    """

    name: Literal["jml2"] = "jml2"

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One loss per target, (K,), or per sample and target, (B, K)."""
        error = self.total((prediction - target).abs())
        return self.share(error, self.total(prediction * target))
