"""Seven experts who outline lesions: each with a habit, an unsteady hand, and an eye of its own.

Unlike the raters of the cord's gray matter they also overlook small lesions, and take faint spots
for lesions: a patient's lesions are many, small, and without a sharp edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from softseg.datasets.phantom.lesions import MARGIN, Findings
from softseg.datasets.phantom.raters import LIMIT, smooth_field


@dataclass(frozen=True)
class Expert:
    """How one person draws."""

    habit: float
    """how far outside the true edge on average, mm"""
    misses: float
    """chance to overlook the smallest lesion"""
    doubts: float
    """chance to take a faint spot for a lesion"""


EXPERTS = (
    Expert(0.35, 0.2, 0.35),
    Expert(-0.25, 0.6, 0.05),
    Expert(0.1, 0.4, 0.15),
    Expert(0.5, 0.15, 0.4),
    Expert(-0.1, 0.5, 0.1),
    Expert(0.05, 0.35, 0.2),
    Expert(0.4, 0.45, 0.25),
)

WOBBLE = 0.7
"""Standard deviation in mm of an expert's edge; it makes the Dice with the consensus 69 to 77 %."""

REACH_MM = 1.5
"""Over how many mm an expert's displacement changes."""

NOTICED = 60.0
"""mm3: a lesion of this size is overlooked 2.7 times less often than the smallest."""


def expert_mask(
    rng: np.random.Generator,
    findings: Findings,
    zooms: tuple[float, float, float],
    expert: Expert,
) -> NDArray[np.uint8]:
    """One expert's mask (X, Y, Z): 1 lesion, 0 the rest; `zooms` in mm."""
    level = findings.level
    field = smooth_field(rng, level.shape, tuple(REACH_MM / zoom for zoom in zooms))
    shift = expert.habit + WOBBLE * np.clip(field, -LIMIT, LIMIT)
    drawn = level + np.minimum(shift, MARGIN) >= 0
    noticed = [
        rng.random() >= expert.misses * np.exp(-lesion.blob.volume / NOTICED)
        if lesion.real
        else rng.random() < expert.doubts
        for lesion in findings.lesions
    ]
    mask: NDArray[np.uint8] = (drawn & np.append(noticed, False)[findings.number]).astype(np.uint8)
    return mask
