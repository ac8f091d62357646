"""The family of losses of one formula each, which a combination weighs."""

from __future__ import annotations

from softseg.losses.contour import Boundary, RegionWise
from softseg.losses.cross_entropy import Bce, Focal, UnifiedFocal
from softseg.losses.dice import Dice, DicePlusPlus, DiceSquared, GeneralizedDice
from softseg.losses.regression import L1, Huber, Mse
from softseg.losses.semimetric import Dml1, Dml2, Jml1, Jml2
from softseg.losses.tversky import FocalTversky, Tversky
from softseg.losses.wing import AdaptiveWing, Wing

Regression = AdaptiveWing | Wing | Mse | L1 | Huber
Overlap = (
    Dice
    | DiceSquared
    | Dml1
    | Dml2
    | Jml1
    | Jml2
    | GeneralizedDice
    | Tversky
    | FocalTversky
    | DicePlusPlus
)
Distribution = Bce | Focal | UnifiedFocal
Contour = Boundary | RegionWise
SingleLoss = Regression | Overlap | Distribution | Contour
