"""The Tversky loss: Dice with weights for false positives and false negatives."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from softseg.losses.base import OverlapLoss, power


class TverskyIndex(OverlapLoss):
    """Base of the Tversky losses: the parameters of the Tversky index TI, and 1 - TI."""

    fp_weight: Annotated[float, Field(gt=0)] = 0.3
    """Weight of false positives (Salehi's alpha; others call the other one alpha)"""
    fn_weight: Annotated[float, Field(gt=0)] = 0.7
    """Weight of false negatives (Salehi's beta); above the other, sensitivity is preferred"""
    intersection: Literal["product", "minimum"] = "product"
    """True positives of a voxel: p y, as in the paper, or min(p, y), for soft targets"""

    def distance(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return 1 - TI per target, (K,), or per sample and target, (B, K)."""
        if self.intersection == "product":
            agreed = prediction * target
            false_positive, false_negative = prediction - agreed, target - agreed
        else:
            agreed, error = torch.minimum(prediction, target), prediction - target
            false_positive, false_negative = F.relu(error), F.relu(-error)
        wrong = self.fp_weight * false_positive + self.fn_weight * false_negative
        return self.error_ratio(self.total(wrong), self.total(agreed))


class Tversky(TverskyIndex):
    """1 - (TP + s) / (TP + a FP + b FN + s), for each target; a: `fp_weight`, b: `fn_weight`.

    `intersection: product`: TP = sum(p y), FP = sum(p (1 - y)), FN = sum(y (1 - p)).
    `intersection: minimum`: TP = sum(min(p, y)), FP = sum(max(p - y, 0)),
    FN = sum(max(y - p, 0)), the same for hard targets. Weights of 0.5 make it `dice` and `dml1`
    (of twice the s), weights of 1 the soft Jaccard loss and `jml1`.

    Source: Salehi, Erdogmus and Gholipour, MLMI 2017 (arXiv 1706.05721), with alpha for false
    positives and beta for false negatives; `minimum`: Wang, Ning and Blaschko, NeurIPS 2023
    (arXiv 2302.05666), their code.

    Minimum: 0, for a hard target at prediction = target. With `minimum` at prediction = target
    only for soft targets too (valid); with `product` **not valid**: it is smallest at a hard
    mask. For sampled hard labels neither is a proper score: both are best at a hard mask.

    Range: 0 to 1. Gradient: with `minimum` 0 at the minimum itself, but next to it a voxel pulls
    with a / (sum(y) + s) or b / (sum(y) + s); with `product` it does not vanish.
    """

    name: Literal["tversky"] = "tversky"

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss per target, (K,), or per sample and target, (B, K)."""
        return self.distance(prediction, target)


class FocalTversky(TverskyIndex):
    """(1 - TI)^(1 / gamma), for each target; 1 - TI is `tversky`, with its parameters.

    Source: Abraham and Khan, ISBI 2019 (arXiv 1810.07842), gamma 4/3. The exponent is 1 / gamma,
    0.75: code that raises to gamma itself does the opposite. Their alpha of 0.7 is the weight of
    false negatives.

    Minimum: that of `tversky`: valid for soft targets with `intersection: minimum` only. For
    sampled hard labels not a proper score.

    Range: 0 to 1. Gradient: that of `tversky` times (1 - TI)^(1 / gamma - 1) / gamma, which above
    gamma 1 grows towards the minimum; bounded where 1 - TI is below 1.2e-7, and 0 at a valid
    minimum itself.
    """

    name: Literal["focal_tversky"] = "focal_tversky"
    gamma: Annotated[float, Field(ge=0.1)] = 4 / 3
    """Above 1, targets that are nearly right count more; below 1, those that are far off; 1 is \
`tversky`"""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one loss per target, (K,), or per sample and target, (B, K)."""
        return power(self.distance(prediction, target), 1 / self.gamma)
