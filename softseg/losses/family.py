"""The union of losses: a new loss is one class in a module of this folder and one line here."""

from __future__ import annotations

from softseg.losses import contour, cross_entropy, dice, regression, tversky

SingleLoss = (
    regression.AdaptiveWing
    | regression.Wing
    | regression.Mse
    | regression.L1
    | regression.Huber
    | dice.Dice
    | dice.DiceSquared
    | dice.Dml1
    | dice.Dml2
    | dice.Jml1
    | dice.Jml2
    | dice.GeneralizedDice
    | tversky.Tversky
    | tversky.FocalTversky
    | dice.DicePlusPlus
    | cross_entropy.Bce
    | cross_entropy.Focal
    | cross_entropy.UnifiedFocal
    | contour.Boundary
    | contour.RegionWise
)
"""Every loss but `combination`, which weighs them; the `name` in a YAML file selects one."""
