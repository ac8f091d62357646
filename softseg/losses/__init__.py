"""Losses: prediction and target, both (B, K, H, W) in [0, 1] -> a scalar to minimize."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from softseg.core.component import parse_component
from softseg.losses.combination import Combination, contour_only
from softseg.losses.contour import Boundary, RegionWise
from softseg.losses.cross_entropy import Bce, Focal, UnifiedFocal
from softseg.losses.dice import Dice, DicePlusPlus, DiceSquared, GeneralizedDice
from softseg.losses.family import SingleLoss
from softseg.losses.regression import L1, Huber, Mse
from softseg.losses.semimetric import Dml1, Dml2, Jml1, Jml2
from softseg.losses.tversky import FocalTversky, Tversky
from softseg.losses.wing import AdaptiveWing, Wing

__all__ = [
    "AdaptiveWing",
    "Bce",
    "Boundary",
    "Combination",
    "Dice",
    "DicePlusPlus",
    "DiceSquared",
    "Dml1",
    "Dml2",
    "Focal",
    "FocalTversky",
    "GeneralizedDice",
    "Huber",
    "Jml1",
    "Jml2",
    "L1",
    "Loss",
    "Mse",
    "RegionWise",
    "Tversky",
    "UnifiedFocal",
    "Wing",
    "build",
    "contour_only",
]

Loss = Annotated[SingleLoss | Combination, Field(discriminator="name")]
_family: TypeAdapter[SingleLoss | Combination] = TypeAdapter(Loss)


def build(spec: Any) -> SingleLoss | Combination:
    """The loss that a YAML's `loss:` describes: call it with a prediction and a target.

    Args:
        spec: what the YAML holds, such as `{"name": "adaptive_wing", "omega": 8}`.

    Returns:
        A function of prediction and target, both (B, K, H, W), to a scalar; it computes in
        float32 whatever it is given (float64 stays float64). Its `maps` are the kinds of contour
        maps, (B, K, H, W) each, that it needs by name as a third argument; `at(epoch)`, counted
        from 0, is the loss of that epoch.

    Raises:
        pydantic.ValidationError: the spec names no loss, or a field is wrong.
    """
    return parse_component(_family, spec)
