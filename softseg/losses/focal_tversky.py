"""The focal Tversky loss: a power of the Tversky loss."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from softseg.losses.numerics import power
from softseg.losses.tversky import TverskyIndex


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

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One loss per target, (K,), or per sample and target, (B, K)."""
        return power(self.distance(prediction, target), 1 / self.gamma)
