"""What losses share: full precision, checked shapes, and how many values become one."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor

from softseg.component import Component


class ReducedLoss(Component):
    """A loss of several values, averaged or summed in full precision.

    Computed in float32 (float64 stays float64) with autocast off: in bfloat16 small errors
    vanish, and in float16 sums overflow. The target is a constant: no gradient flows into it.
    """

    reduction: Literal["mean", "sum"] = "mean"
    """How values become one: their `mean`, or their `sum` (the published behaviour, with which \
the loss grows with the batch and the slice)"""

    @abstractmethod
    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss before its reduction, of any shape; both (B, K, H, W), of one float type."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss of a prediction and a target, both (B, K, H, W) in [0, 1]: a scalar.

        Raises:
            ValueError: the shapes differ (they would broadcast to a wrong loss).
        """
        if prediction.shape != target.shape:
            raise ValueError(
                f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} "
                "differ in shape"
            )
        dtype = torch.promote_types(prediction.dtype, torch.float32)
        with torch.autocast(prediction.device.type, enabled=False):
            values = self.values(prediction.to(dtype), target.detach().to(dtype))
            return values.mean() if self.reduction == "mean" else values.sum()
