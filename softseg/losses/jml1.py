"""The first Jaccard metric loss: the soft Jaccard (IoU) loss made right for soft targets."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from softseg.losses.reduction import OverlapLoss


class Jml1(OverlapLoss):
    """1 - (M + s) / (M + sum(|p - y|) + s), M = sum(min(p, y)), for each target.

    With s = 0 the published 1 - (c - d) / (c + d), where c = sum(p) + sum(y) and
    d = sum(|p - y|). For hard targets it is the soft Jaccard loss.

    Source: Wang, Ning and Blaschko, Jaccard Metric Losses, NeurIPS 2023 (arXiv 2302.05666); s as
    in their later code.

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is the soft Jaccard loss, whose minimum is at hard masks: average the labels instead.

    Range: 0 to 1. Gradient: 0 at the minimum itself, but beside it each voxel pulls with
    1 / (sum(y) + s), however small its error.
    """

    name: Literal["jml1"] = "jml1"

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One loss per target, (K,), or per sample and target, (B, K)."""
        error = self.total((prediction - target).abs())
        return self.share(error, self.total(torch.minimum(prediction, target)))
