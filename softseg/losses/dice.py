"""Dice losses: linear, squared, generalized and Dice++; Dice and Jaccard semimetric losses.

Of these the squared and the semimetric losses are valid for soft targets.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from softseg.losses.base import OverlapLoss, ratio


class Dice(OverlapLoss):
    """1 - (2 sum(p y) + s) / (sum(p) + sum(y) + s), for each target: the paper's Dice loss.

    Source: Gros et al. 2020, section 2.3.9 (the published code returns this minus 1).

    Minimum: 0, for a hard target at prediction = target. **Not valid for soft targets**: for
    y = (1, .6, .6, .3) and s = 0 it is 0.276 at p = y and 0.200 at p = (1, 1, 1, 0), because
    it is smallest when every voxel with y above half the best Dice is 1 and every other 0.
    `dml1` equals it for hard targets and is valid for soft ones. For sampled hard labels it is
    not a proper score either: an uncertain region is best all 0 or all 1, a volume bias.

    Range: 0 to 1. Gradient at a voxel: (D - 2 y) / (sum(p) + sum(y) + s), D the Dice; it does
    not vanish at the minimum, which is at the bounds of [0, 1].
    """

    name: Literal["dice"] = "dice"

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss per target, (K,), or per sample and target, (B, K)."""
        overlap = 2 * self.total(prediction * target) + self.smooth
        whole = self.total(prediction) + self.total(target) + self.smooth
        return 1 - ratio(overlap, whole, nothing=1)


class DicePlusPlus(OverlapLoss):
    """1 - (2 TP + s) / (2 TP + FP + FN + s), for each target.

    TP = sum(p y), FP = sum((p (1 - y))^gamma), FN = sum((y (1 - p))^gamma). For hard targets and
    gamma 2 it is `dice_squared`.

    Source: Yeung et al., Journal of Digital Imaging 36, 2023 (arXiv 2111.00528).

    Minimum: 0, for a hard target at prediction = target. **Not valid for soft targets**: for
    y = (1, .6, .6, .3) and s = 0 it is smallest at p = (1, .781, .781, .195). For sampled hard
    labels it is not a proper score either.

    Range: 0 to 1. Gradient: 0 at a hard target with gamma above 1, so confident errors count
    most.
    """

    name: Literal["dice++"] = "dice++"
    gamma: Annotated[float, Field(ge=1)] = 2.0
    """Power on the error of a voxel; 1 is `dice`"""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss per target, (K,), or per sample and target, (B, K)."""
        agreed = prediction * target
        # rounding may make an error negative, of which a power is NaN
        false_positive = F.relu(prediction - agreed) ** self.gamma
        false_negative = F.relu(target - agreed) ** self.gamma
        return self.error_ratio(self.total(false_positive + false_negative), 2 * self.total(agreed))


class DiceSquared(OverlapLoss):
    """1 - (2 sum(p y) + s) / (sum(p^2) + sum(y^2) + s), for each target.

    Which is sum((p - y)^2) / (sum(p^2) + sum(y^2) + s): a squared error relative to the size.

    Source: Milletari, Navab and Ahmadi, V-Net, 3DV 2016 (arXiv 1606.04797), section 3.

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is not a proper score, but the best prediction is gray: 0.19 for a voxel that is foreground
    a quarter of the time, next to one that always is.

    Range: 0 to 1. Gradient at the minimum: 0, and it vanishes in proportion to the error.
    """

    name: Literal["dice_squared"] = "dice_squared"

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss per target, (K,), or per sample and target, (B, K)."""
        squared_error = self.total((prediction - target).square())
        return self.error_ratio(squared_error, 2 * self.total(prediction * target))


class GeneralizedDice(OverlapLoss):
    """1 - (2 sum_l w_l sum(p_l y_l) + s) / (sum_l w_l sum(p_l + y_l) + s), w_l ~ 1 / sum(y_l)^2.

    The classes l are the targets and, with `background`, the complement 1 - y of each (computed
    softly, not from exact zeros). Weights are relative to that of the smallest class, which is
    1, so s is in its voxels; an absent class has 1 too, as its weight would be infinite.

    Source: Sudre, Li, Vercauteren, Ourselin and Cardoso, DLMIA 2017 (arXiv 1707.03237),
    section 2, which counts the background among the classes.

    Minimum: 0, for a hard target at prediction = target. **Not valid for soft targets**: it is
    smallest at a hard mask, for y = (1, .6, .6, .3) at (1, 1, 1, 0) as `dice`. For sampled hard
    labels it is not a proper score either.

    Range: 0 to 1. Gradient: does not vanish at the minimum.
    """

    name: Literal["generalized_dice"] = "generalized_dice"
    background: bool = True
    """Whether the complement of each target is a class too; without, one target alone is `dice`"""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss, (), or one per sample, (B,)."""
        if self.background:
            prediction = torch.cat([prediction, 1 - prediction], dim=1)
            target = torch.cat([target, 1 - target], dim=1)
        volume = self.total(target)
        present = volume > 0
        smallest = volume.masked_fill(~present, torch.inf).amin(-1, keepdim=True)
        weight = torch.where(present, (smallest / volume).square(), 1)
        agreed = prediction * target
        wrong = self.total(prediction + target - 2 * agreed)
        return self.error_ratio((weight * wrong).sum(-1), 2 * (weight * self.total(agreed)).sum(-1))


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
        return self.error_ratio(error, 2 * self.total(torch.minimum(prediction, target)))


class Dml2(OverlapLoss):
    """1 - (2 I + s) / (2 I + sum(|p - y|) + s), I = sum(p y), for each target.

    For hard targets it is `dice`. Source: that of `dml1`.

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is `dice`, as `dml1` is.

    Range: 0 to 1. Gradient: 0 at the minimum itself, but next to it each voxel pulls with
    1 / (2 sum(y^2) + s), however small its error; faint targets pull harder than with `dml1`.
    """

    name: Literal["dml2"] = "dml2"

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss per target, (K,), or per sample and target, (B, K)."""
        error = self.total((prediction - target).abs())
        return self.error_ratio(error, 2 * self.total(prediction * target))


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
        return self.error_ratio(error, self.total(torch.minimum(prediction, target)))


class Jml2(OverlapLoss):
    """1 - (I + s) / (I + sum(|p - y|) + s), I = sum(p y), for each target.

    For hard targets it is the soft Jaccard loss. Source: that of `jml1`.

    Minimum: 0 at prediction = target only, for soft targets too (valid). For sampled hard labels
    it is the soft Jaccard loss, as `jml1` is.

    Range: 0 to 1. Gradient: 0 at the minimum itself, but next to it each voxel pulls with
    1 / (sum(y^2) + s), however small its error; faint targets pull harder than with `jml1`.
    """

    name: Literal["jml2"] = "jml2"

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss per target, (K,), or per sample and target, (B, K)."""
        error = self.total((prediction - target).abs())
        return self.error_ratio(error, self.total(prediction * target))
