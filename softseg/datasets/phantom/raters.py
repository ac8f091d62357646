"""Four raters who see the same edge a little differently.

Each draws the true edge displaced by a habit of its own (millimeters outwards) and by a smooth
random field; so raters differ along the edge only, and by as much in mm at every resolution.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter

from softseg.core.types import BoolArray, FloatArray

GRAY, WHITE = 1, 2
"""The codes of a mask."""

HABITS = (0.04, -0.03, 0.0, -0.01)
"""How far outside the true edge each rater draws on average, mm."""

WOBBLE = 0.13
"""Standard deviation in mm of a rater's edge; it makes the Dice with the majority about 91 %."""

PANEL = 0.3
"""'More than half of four' needs the third-best vote, which lies 0.3 standard deviations below
the mean (the normal order statistic); all raters draw that much outside, so that their majority
is neither larger nor smaller than the truth."""

REACH_MM = 1.3
"""Over how many mm in plane a rater's displacement changes."""

LIMIT = 2.5
"""The largest displacement, in standard deviations."""

MARGIN = 3.0
"""Only the box that holds everything within so many mm of the edge needs a random field."""


def smooth_field(
    rng: np.random.Generator, shape: tuple[int, ...], sigmas: tuple[float, ...]
) -> FloatArray:
    """A random field (X, Y, Z) of mean 0 and variance 1, smooth over `sigmas` voxels."""
    noise = rng.standard_normal(shape)
    field = gaussian_filter(noise, sigmas, mode="wrap")
    scaled: FloatArray = (field - field.mean()) / field.std()
    return scaled


def rater_mask(
    rng: np.random.Generator,
    gray: FloatArray,
    cord: FloatArray,
    zooms: tuple[float, float, float],
    habit: float,
) -> NDArray[np.uint8]:
    """One rater's mask (X, Y, Z): 1 gray matter, 2 white matter, 0 the rest.

    `gray` and `cord` are levels in mm (`sampling.Coverage`); `habit` is in mm.
    """
    sigmas = (REACH_MM / zooms[0], REACH_MM / zooms[1], 0.5)

    def displaced(level: FloatArray) -> BoolArray:
        drawn = np.zeros(level.shape, dtype=bool)
        box = find_objects((level > -MARGIN).astype(int))[0]
        field = smooth_field(rng, level[box].shape, sigmas)
        shift = habit + WOBBLE * (PANEL + np.clip(field, -LIMIT, LIMIT))
        drawn[box] = level[box] + shift >= 0
        return drawn

    is_gray, is_cord = displaced(gray), displaced(cord)
    mask = np.where(is_cord, WHITE, 0)
    mask[is_gray & is_cord] = GRAY
    return mask.astype(np.uint8)
