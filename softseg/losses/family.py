"""The table of losses: a new loss is one class in a module of this folder and one line here."""

from __future__ import annotations

from softseg.losses import contour, cross_entropy, dice, regression, semimetric, tversky, wing

SingleLoss = (
    wing.AdaptiveWing
    | wing.Wing
    | regression.Mse
    | regression.L1
    | regression.Huber
    | dice.Dice
    | dice.DiceSquared
    | semimetric.Dml1
    | semimetric.Dml2
    | semimetric.Jml1
    | semimetric.Jml2
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
"""Every loss but `combination`, which weighs them; the `name` in a YAML selects one."""
