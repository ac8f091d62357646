"""What a loss makes of an uncertain region: the prediction with the lowest expected loss.

A region that is certain, of volume 1, lies beside an uncertain one of volume v that consists of K
equal parts, each foreground with probability p on its own. Certain voxels are predicted at 1, the
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
"""The q that are tried."""


@dataclass(frozen=True)
class Region:
    """An uncertain region."""

    probability: float
    """p of one part to be foreground, 0 to 1"""
    parts: int
    """K, 1 or more, drawn independently"""
    volume: float = 1.0
    """v, of all parts together, by that of the certain region"""

    def mean(self, ratio: Callable[[Array], Array]) -> Array:
        """The mean over what is drawn; `ratio` takes the foreground's volume within the region."""
        counts = np.arange(self.parts + 1)
        chances = binom.pmf(counts, self.parts, self.probability)
        return np.asarray(chances @ ratio(self.volume * counts[:, None] / self.parts))


def dice(q: Array, region: Region) -> Array:
    """1 - E[(2 I) / (sum q + sum y)]; DML1 and DML2 are the same where the labels are hard."""
    v = region.volume
    return 1 - region.mean(lambda drawn: 2 * (1 + q * drawn) / (1 + v * q + 1 + drawn))


def squared_dice(q: Array, region: Region) -> Array:
    """1 - E[(2 I) / (sum q^2 + sum y^2)]."""
    v = region.volume
    return 1 - region.mean(lambda drawn: 2 * (1 + q * drawn) / (1 + v * q**2 + 1 + drawn))


def cross_entropy(q: Array, region: Region) -> Array:
    """-p ln q - (1 - p) ln(1 - q), of one voxel: parts and volume do not matter."""
    p = region.probability
    return np.asarray(-xlogy(p, q) - xlog1py(1 - p, -q))


def adaptive_wing(q: Array, region: Region) -> Array:
    """Of one voxel, with the parameters of SoftSeg (Gros et al. 2020, Table 1)."""
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
    """The q with the lowest expected loss, in steps of 0.0001; the lowest q of several."""
    return float(PREDICTIONS[np.argmin(EXPECTED[candidate](PREDICTIONS, region))])


def volume_bias(candidate: str, region: Region, hard: bool = False) -> float:
    """v (q - p), of the soft prediction or of that thresholded at 0.5; positive: too large."""
    q = best_prediction(candidate, region)
    return region.volume * ((float(q >= 0.5) if hard else q) - region.probability)
