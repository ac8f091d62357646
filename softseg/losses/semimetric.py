"""Dice and Jaccard semimetric losses: overlap losses that are valid for soft targets."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from softseg.losses.base import OverlapLoss


class Dml1(OverlapLoss):
    """1 - (2 M + s) / (sum(p) + sum(y) + s), M = sum(min(p, y)), for each target.

    M is the published (sum(p) + sum(y) - sum(|p - y|)) / 2, so this is
    sum(|p - y|) / (sum(p) + sum(y) + s). For hard targets it is `dice`, value and gradient.

    Source: Wang, Popordanoska, Bertels, Lemmens and Blaschko, Dice Semimetric Losses, MICCAI
    2023 (arXiv 2303.16296). The s of their code is half of this one.

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is `dice` and has its volume bias: average the labels instead.

    Range: 0 to 1. Gradient: 0 at the minimum itself, but next to it each voxel pulls with
    1 / (2 sum(y) + s), however small its error.
    """

    name: Literal["dml1"] = "dml1"

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss per target, (K,), or per sample and target, (B, K)."""
        error = self.total((prediction - target).abs())
        return self.share(error, 2 * self.total(torch.minimum(prediction, target)))


class Dml2(OverlapLoss):
    """1 - (2 I + s) / (2 I + sum(|p - y|) + s), I = sum(p y), for each target.

    For hard targets it is `dice`.

    Source: Wang, Popordanoska, Bertels, Lemmens and Blaschko, Dice Semimetric Losses, MICCAI
    2023 (arXiv 2303.16296).

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is `dice` and has its volume bias: average the labels instead.

    Range: 0 to 1. Gradient: 0 at the minimum itself, but next to it each voxel pulls with
    1 / (2 sum(y^2) + s), however small its error; faint targets pull harder than with `dml1`.
    """

    name: Literal["dml2"] = "dml2"

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss per target, (K,), or per sample and target, (B, K)."""
        error = self.total((prediction - target).abs())
        return self.share(error, 2 * self.total(prediction * target))


class Jml1(OverlapLoss):
    """1 - (M + s) / (M + sum(|p - y|) + s), M = sum(min(p, y)), for each target.

    With s = 0 the published 1 - (c - d) / (c + d), where c = sum(p) + sum(y) and
    d = sum(|p - y|). For hard targets it is the soft Jaccard loss.

    Source: Wang, Ning and Blaschko, Jaccard Metric Losses, NeurIPS 2023 (arXiv 2302.05666); s as
    in their later code.

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is the soft Jaccard loss, with its minimum at hard masks: average the labels instead.

    Range: 0 to 1. Gradient: 0 at the minimum itself, but next to it each voxel pulls with
    1 / (sum(y) + s), however small its error.
    """

    name: Literal["jml1"] = "jml1"

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss per target, (K,), or per sample and target, (B, K)."""
        error = self.total((prediction - target).abs())
        return self.share(error, self.total(torch.minimum(prediction, target)))


class Jml2(OverlapLoss):
    """1 - (I + s) / (I + sum(|p - y|) + s), I = sum(p y), for each target.

    For hard targets it is the soft Jaccard loss.

    Source: Wang, Ning and Blaschko, Jaccard Metric Losses, NeurIPS 2023 (arXiv 2302.05666).

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is the soft Jaccard loss, with its minimum at hard masks: average the labels instead.

    Range: 0 to 1. Gradient: 0 at the minimum itself, but next to it each voxel pulls with
    1 / (sum(y^2) + s), however small its error; faint targets pull harder than with `jml1`.
    """

    name: Literal["jml2"] = "jml2"

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss per target, (K,), or per sample and target, (B, K)."""
        error = self.total((prediction - target).abs())
        return self.share(error, self.total(prediction * target))
