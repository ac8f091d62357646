"""The first Dice semimetric loss: the Dice loss made right for soft targets."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from softseg.losses.reduction import OverlapLoss


class Dml1(OverlapLoss):
    """1 - (2 M + s) / (sum(p) + sum(y) + s), M = sum(min(p, y)), for each target.

    M is the published (sum(p) + sum(y) - sum(|p - y|)) / 2, so this is
    sum(|p - y|) / (sum(p) + sum(y) + s). For hard targets it is `dice`, value and gradient.

    Source: Wang, Popordanoska, Bertels, Lemmens and Blaschko, Dice Semimetric Losses, MICCAI
    2023 (arXiv 2303.16296). The s of their code is half of this one.

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is `dice` and has its volume bias: average the labels instead.

    Range: 0 to 1. Gradient: 0 at the minimum itself, but beside it each voxel pulls with
    1 / (2 sum(y) + s), however small its error.
    """

    name: Literal["dml1"] = "dml1"

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One loss per target, (K,), or per sample and target, (B, K)."""
        error = self.total((prediction - target).abs())
        return self.share(error, 2 * self.total(torch.minimum(prediction, target)))
