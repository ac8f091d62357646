"""Losses: prediction and target, both (B, K, H, W) in [0, 1] -> a scalar to minimise."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from softseg.component import build_from
from softseg.losses.adaptive_wing import AdaptiveWing
from softseg.losses.bce import Bce
from softseg.losses.boundary import Boundary
from softseg.losses.combination import Combination, contour_only
from softseg.losses.dice import Dice
from softseg.losses.dice_plus_plus import DicePlusPlus
from softseg.losses.dice_squared import DiceSquared
from softseg.losses.dml1 import Dml1
from softseg.losses.dml2 import Dml2
from softseg.losses.focal import Focal
from softseg.losses.focal_tversky import FocalTversky
from softseg.losses.generalized_dice import GeneralizedDice
from softseg.losses.huber import Huber
from softseg.losses.jml1 import Jml1
from softseg.losses.jml2 import Jml2
from softseg.losses.l1 import L1
from softseg.losses.mse import Mse
from softseg.losses.region_wise import RegionWise
from softseg.losses.single import SingleLoss
from softseg.losses.tversky import Tversky
from softseg.losses.unified_focal import UnifiedFocal
from softseg.losses.wing import Wing

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
    return build_from(_family, spec)
