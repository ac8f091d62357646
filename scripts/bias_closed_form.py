"""The prediction with the lowest expected loss in an uncertain region.

A certain region of volume 1 is next to an uncertain one of volume v that consists of K equal
parts, each independently foreground with probability p. Certain voxels are predicted at 1, the
background at 0, uncertain voxels at q. The bias is that of the predicted volume, v (q - p).

Source: Bertels et al., MedIA 67 (2021) 101833 (arXiv 2211.04161), with K = 1, 4 and 16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlog1py, xlogy
from scipy.stats import binom

Array = NDArray[np.float64]
PREDICTIONS = np.linspace(0, 1, 10_001)
"""The q that are compared."""


@dataclass(frozen=True)
class Region:
    """An uncertain region."""

    probability: float
    """p of one part to be foreground, 0 to 1"""
    parts: int
    """K, 1 or more, drawn independently"""
    volume: float = 1.0
    """v, of all parts together, relative to the certain region"""

    def mean(self, ratio: Callable[[Array], Array]) -> Array:
        """Return the mean over all draws of `ratio`, a function of the foreground's volume."""
        counts = np.arange(self.parts + 1)
        chances = binom.pmf(counts, self.parts, self.probability)
        return np.asarray(chances @ ratio(self.volume * counts[:, None] / self.parts))


def dice(q: Array, region: Region) -> Array:
    """1 - E[(2 I) / (sum q + sum y)]; DML1 and DML2 are the same where the labels are hard."""
    v = region.volume
    return 1 - region.mean(lambda y: 2 * (1 + q * y) / (1 + v * q + 1 + y))


def squared_dice(q: Array, region: Region) -> Array:
    """1 - E[(2 I) / (sum q^2 + sum y^2)]."""
    v = region.volume
    return 1 - region.mean(lambda y: 2 * (1 + q * y) / (1 + v * q**2 + 1 + y))


def cross_entropy(q: Array, region: Region) -> Array:
    """-p ln q - (1 - p) ln(1 - q), of one voxel: parts and volume do not matter."""
    p = region.probability
    return np.asarray(-xlogy(p, q) - xlog1py(1 - p, -q))


def adaptive_wing(q: Array, region: Region) -> Array:
    """The loss of one voxel, with the parameters of SoftSeg (Gros et al. 2020, Table 1)."""
    p = region.probability
    return p * _wing(1 - q, power=1.1) + (1 - p) * _wing(q, power=2.1)


def _wing(error: Array, power: float, omega: float = 8, theta: float = 0.5) -> Array:
    """omega ln(1 + d^(alpha - y)) below theta, its tangent there beyond; epsilon is 1."""
    slope = omega * power * theta ** (power - 1) / (1 + theta**power)
    tangent = slope * (error - theta) + omega * np.log1p(theta**power)
    return np.where(error < theta, omega * np.log1p(error**power), tangent)


EXPECTED: dict[str, Callable[[Array, Region], Array]] = {
    "Cross-Entropy": cross_entropy,
    "Dice": dice,
    "Squared-Dice": squared_dice,
    "DML1": dice,
    "Adaptive-Wing": adaptive_wing,
}
"""Candidate of configs/bias_ablation.yaml -> its expected loss at each q."""


def best_prediction(candidate: str, region: Region) -> float:
    """Return the q with the lowest expected loss, in steps of 0.0001; of equal ones the lowest."""
    return float(PREDICTIONS[np.argmin(EXPECTED[candidate](PREDICTIONS, region))])


def volume_bias(candidate: str, region: Region, hard: bool = False) -> float:
    """Return v (q - p) of the soft or the thresholded (`hard`) prediction; positive: too large."""
    q = best_prediction(candidate, region)
    return region.volume * ((float(q >= 0.5) if hard else q) - region.probability)
