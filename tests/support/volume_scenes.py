"""Scenes of Bertels et al. (MedIA 67, 2021, arXiv 1911.02278) whose expected loss is exact.

A certain region of volume 1 next to an uncertain one of volume v in K equal parts, each foreground
with probability p independently of the others, all predicted with the same q; the rest is
background.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.stats import binom

STARTS = (0.02, 0.5, 0.98)


@dataclass(frozen=True)
class Scene:
    volume: float  # of the uncertain region, in volumes of the certain one
    parts: int

    @property
    def voxels(self):
        """Voxels of one part and of the certain region, in the ratio volume / parts to 1."""
        return (Fraction(str(self.volume)) / self.parts).as_integer_ratio()

    @cached_property
    def outcomes(self):
        """The labels (1, 1, 1, W) with 0, 1, ... or all parts as foreground."""
        part, certain = self.voxels
        voxels = torch.arange(certain + part * self.parts)
        counts = certain + part * torch.arange(self.parts + 1)
        return [(voxels < count).double().view(1, 1, 1, -1) for count in counts]

    def prediction(self, q):
        """1 in the certain region, and q, a scalar tensor, in every part."""
        part, certain = self.voxels
        certainly = torch.ones(1, 1, 1, certain, dtype=torch.float64)
        return torch.cat([certainly, q.expand(1, 1, 1, part * self.parts)], dim=-1)

    def losses(self, loss, q):
        """The loss of each outcome, from 0 to all parts: (K + 1,)."""
        prediction = self.prediction(q)
        return torch.stack([loss(prediction, label) for label in self.outcomes])

    def chances(self, p):
        """The probability of each outcome: (K + 1,)."""
        return binom.pmf(np.arange(self.parts + 1), self.parts, p)

    def best(self, loss, p):
        """The q with the lowest expected loss that descent from any of the starts reaches."""
        chances = torch.from_numpy(self.chances(p))

        def value_and_slope(x):
            q = torch.tensor(x[0], dtype=torch.float64, requires_grad=True)
            value = chances @ self.losses(loss, q)
            value.backward()
            return value.item(), np.array([q.grad.item()])

        options = {"ftol": 1e-15, "gtol": 1e-12}
        found = [
            minimize(value_and_slope, [start], jac=True, bounds=[(0, 1)], options=options)
            for start in STARTS
        ]
        return float(min(found, key=lambda each: each.fun).x[0])

    def bias(self, loss, p):
        """Predicted volume less the mean volume of the labels, in volumes of the certain one."""
        return self.volume * (self.best(loss, p) - p)
