"""Repeatability of a measured value, and the least change that repeated measurements can detect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Repeatability:
    """How well repeated measurements agree; in the unit of the values, NaN where undefined."""

    groups: int
    """Groups of at least two measurements of the same thing."""
    measurements: int
    """Measurements in these groups."""
    mean: float
    """Mean of the groups' means."""
    within_sd: float
    """SDw, the within-subject standard deviation."""
    icc: float
    """Intraclass correlation, the share of the variance that is between groups; at most 1."""

    @property
    def least_detectable_change(self) -> float:
        """Return 1.96 sqrt(2) SDw: 95 % of two measurements without a change differ by less."""
        return 1.96 * math.sqrt(2) * self.within_sd


def repeatability(values: ArrayLike, groups: Sequence[object]) -> Repeatability:
    """Return the repeatability of values (N,) with the group of each, (N,).

    SDw pools the variances within the groups, weighted by their degrees of freedom (Bland and
    Altman 1996). The intraclass correlation is ICC(1,1) of the one-way random effects model (Shrout
    and Fleiss 1979), with the effective number of measurements of a group if their numbers differ;
    it needs two groups. Groups of one measurement do not count.
    """
    members: dict[object, list[float]] = {}
    for value, group in zip(np.asarray(values, np.float64).tolist(), groups, strict=True):
        members.setdefault(group, []).append(value)
    repeated = [np.array(own) for own in members.values() if len(own) > 1]
    if not repeated:
        return Repeatability(0, 0, math.nan, math.nan, math.nan)
    counts = np.array([len(own) for own in repeated])
    means, total = np.array([own.mean() for own in repeated]), int(counts.sum())
    squares = sum(float(np.square(own - own.mean()).sum()) for own in repeated)
    within = squares / (total - len(repeated))
    icc = math.nan
    if len(repeated) > 1:
        grand = float(np.concatenate(repeated).mean())
        between = float((counts * np.square(means - grand)).sum()) / (len(repeated) - 1)
        size = (total - float(np.square(counts).sum()) / total) / (len(repeated) - 1)
        spread = between + (size - 1) * within
        icc = (between - within) / spread if spread > 0 else math.nan
    return Repeatability(len(repeated), total, float(means.mean()), math.sqrt(within), icc)
