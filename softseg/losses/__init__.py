"""Losses: prediction and target, both (B, K, H, W) in [0, 1] -> a scalar to minimise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field, TypeAdapter
from torch import Tensor

from softseg.component import build_from
from softseg.losses.adaptive_wing import AdaptiveWing
from softseg.losses.dice import Dice

__all__ = ["AdaptiveWing", "Dice", "Loss", "build"]

Loss = Annotated[Dice | AdaptiveWing, Field(discriminator="name")]
_family: TypeAdapter[Dice | AdaptiveWing] = TypeAdapter(Loss)


def build(spec: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss that a YAML's `loss:` describes: call it with a prediction and a target.

    Args:
        spec: what the YAML holds, such as `{"name": "adaptive_wing", "omega": 8}`.

    Returns:
        A function of prediction and target, both (B, K, H, W), to a scalar; it computes in
        float32 whatever it is given (float64 stays float64).

    Raises:
        pydantic.ValidationError: the spec names no loss, or a field is wrong.
    """
    return build_from(_family, spec)
