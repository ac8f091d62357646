"""The second Dice semimetric loss: the product as overlap, the L1 distance as what is missing."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from softseg.losses.reduction import OverlapLoss


class Dml2(OverlapLoss):
    """1 - (2 I + s) / (2 I + sum(|p - y|) + s), I = sum(p y), for each target.

    For hard targets it is `dice`.

    Source: Wang, Popordanoska, Bertels, Lemmens and Blaschko, Dice Semimetric Losses, MICCAI
    2023 (arXiv 2303.16296).

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is `dice` and has its volume bias: average the labels instead.

    Range: 0 to 1. Gradient: 0 at the minimum itself, but beside it each voxel pulls with
    1 / (2 sum(y^2) + s), however small its error; pale targets pull harder than with `dml1`.
    """

    name: Literal["dml2"] = "dml2"

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One loss per target, (K,), or per sample and target, (B, K)."""
        error = self.total((prediction - target).abs())
        return self.share(error, 2 * self.total(prediction * target))
