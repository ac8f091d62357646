"""The family of losses of one formula each, which a combination weighs."""

from __future__ import annotations

from softseg.losses.adaptive_wing import AdaptiveWing
from softseg.losses.bce import Bce
from softseg.losses.boundary import Boundary
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
from softseg.losses.tversky import Tversky
from softseg.losses.unified_focal import UnifiedFocal
from softseg.losses.wing import Wing

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
