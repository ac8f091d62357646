"""Simulated raters: four of the cord's gray matter, and seven experts of brain lesions.

Each draws the true edge displaced by an offset of their own (mm outwards) and by a smooth random
field; so raters differ along the edge only, and by as much in mm at every resolution. The experts
also overlook small lesions and take faint spots for lesions: a patient's lesions are many, small,
and without a sharp edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from softseg.core.types import BoolArray, FloatArray
from softseg.datasets.phantom.lesions import MARGIN, Findings
from softseg.datasets.phantom.scanner import Zooms, smooth_field

GRAY, WHITE = 1, 2
"""The codes of a mask."""

OFFSETS = (0.04, -0.03, 0.0, -0.01)
"""How far outside the true edge each rater draws on average, mm."""

RATER_SD = 0.13
"""Standard deviation in mm of a rater's edge; it makes the Dice with the majority about 91 %."""

MAJORITY_SHIFT = 0.3
"""'More than half of four' needs the third-highest vote, which is 0.3 standard deviations below
the mean (the normal order statistic); all raters draw that much outside, so that their majority
is neither larger nor smaller than the truth."""

RATER_SMOOTHNESS = 1.3
"""Over how many mm in plane a rater's displacement changes."""

MAX_DEVIATION = 2.5
"""The largest displacement, in standard deviations."""

EDGE_MARGIN = 3.0
"""A random field is needed only in the box of everything within so many mm of the edge."""


def rater_mask(
    rng: np.random.Generator, gray: FloatArray, cord: FloatArray, zooms: Zooms, offset: float
) -> NDArray[np.uint8]:
    """Return one rater's mask (X, Y, Z): 1 gray matter, 2 white matter, 0 the rest.

    `gray` and `cord` are levels in mm (`partial_volume.Coverage`); `offset` is in mm.
    """
    sigmas = (RATER_SMOOTHNESS / zooms[0], RATER_SMOOTHNESS / zooms[1], 0.5)

    def displaced(level: FloatArray) -> BoolArray:
        inside = np.zeros(level.shape, dtype=bool)
        box = find_objects((level > -EDGE_MARGIN).astype(int))[0]
        field = smooth_field(rng, level[box].shape, sigmas)
        deviation = np.clip(field, -MAX_DEVIATION, MAX_DEVIATION)
        inside[box] = level[box] + (offset + RATER_SD * (MAJORITY_SHIFT + deviation)) >= 0
        return inside

    is_gray, is_cord = displaced(gray), displaced(cord)
    mask = np.where(is_cord, WHITE, 0)
    mask[is_gray & is_cord] = GRAY
    return mask.astype(np.uint8)


@dataclass(frozen=True)
class Expert:
    """How one person outlines lesions."""

    offset: float
    """how far outside the true edge on average, mm"""
    miss_rate: float
    """probability to overlook the smallest lesion"""
    false_positive_rate: float
    """probability to take a faint spot for a lesion"""


EXPERTS = (
    Expert(0.35, 0.2, 0.35),
    Expert(-0.25, 0.6, 0.05),
    Expert(0.1, 0.4, 0.15),
    Expert(0.5, 0.15, 0.4),
    Expert(-0.1, 0.5, 0.1),
    Expert(0.05, 0.35, 0.2),
    Expert(0.4, 0.45, 0.25),
)

EXPERT_SD = 0.7
"""Standard deviation in mm of an expert's edge; it makes the Dice with the consensus 69 to 77 %."""

EXPERT_SMOOTHNESS = 1.5
"""Over how many mm an expert's displacement changes."""

CONSPICUOUS_VOLUME = 60.0
"""mm3: a lesion of this size is overlooked 2.7 times less often than the smallest."""


def expert_mask(
    rng: np.random.Generator, findings: Findings, zooms: Zooms, expert: Expert
) -> NDArray[np.uint8]:
    """Return one expert's mask (X, Y, Z): 1 lesion, 0 the rest; `zooms` in mm."""
    level = findings.level
    field = smooth_field(rng, level.shape, tuple(EXPERT_SMOOTHNESS / zoom for zoom in zooms))
    shift = expert.offset + EXPERT_SD * np.clip(field, -MAX_DEVIATION, MAX_DEVIATION)
    inside = level + np.minimum(shift, MARGIN) >= 0
    noticed = [
        rng.random() >= expert.miss_rate * np.exp(-lesion.blob.volume / CONSPICUOUS_VOLUME)
        if lesion.real
        else rng.random() < expert.false_positive_rate
        for lesion in findings.lesions
    ]
    is_lesion = inside & np.append(noticed, False)[findings.nearest]
    mask: NDArray[np.uint8] = is_lesion.astype(np.uint8)
    return mask
