"""A glioma: dead tissue within a rim that takes up contrast agent, within swollen tissue.

A low grade glioma has no rim: its core is solid and takes up nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softseg.core.types import FloatArray
from softseg.datasets.phantom.blob import Blob, Ripple, draw_blob, draw_ripple
from softseg.datasets.phantom.brain import Brain

GRADES = ("HGG", "LGG")

VOLUMES = (800.0, 6000.0)
"""Smallest and largest tumor core, mm3; the brain has two thirds of its size."""


@dataclass(frozen=True)
class Tumor:
    """The shape parameters of one tumor; lengths in mm. All shapes are nested."""

    core: Blob
    rim: float
    """how thick the enhancing rim is on average; 0: there is none"""
    ripple: Ripple
    """that makes rim and swelling uneven"""
    swelling: float
    """how far the swollen tissue reaches beyond the core on average"""

    @property
    def reach(self) -> float:
        """The radius of a ball about the core's center that holds the whole tumor."""
        return self.core.reach + 2.2 * self.swelling

    def inner(self, brain: Brain, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Depth in the core, which keeps to the brain and out of the ventricles."""
        within = np.minimum(brain.outline(x, y, z) - 1, -brain.ventricle(x, y, z))
        return np.asarray(np.minimum(self.core(x, y, z), within))

    def layers(self, brain: Brain, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Depth in the dead tissue, and in the whole tumor, (2, X, Y, Z).

        The swelling keeps to white matter.
        """
        core, lump, wave = self.inner(brain, x, y, z), self.core(x, y, z), self.ripple(x, y, z)
        dead = np.minimum(core, lump - self.rim * (1 + 0.6 * wave))
        white = brain.layers(x, y, z)[2]
        swollen = np.minimum(lump + self.swelling * (1 + 1.2 * wave), white)
        return np.stack([dead, np.maximum(core, swollen)])


def draw_tumor(rng: np.random.Generator, brain: Brain, grade: str, reach: float) -> Tumor:
    """A tumor in one half of the brain, its center within `reach` mm of the middle slice."""
    while True:
        x, y, z = (rng.uniform(-1, 1, 3) * (26, 32, reach)).tolist()
        smallest, largest = VOLUMES
        volume = smallest * (largest / smallest) ** rng.random()
        core = draw_blob(rng, (x, y, z), volume, 0.3)
        rim, swelling = rng.uniform((1.6, 3.0), (2.8, 7.0))
        ripple = draw_ripple(rng, 22.0)
        depth = brain.outline(*(np.asarray(v) for v in core.center))
        if abs(x) > 9 and float(depth) > 0.8 * core.reach + 3:
            return Tumor(core, float(rim) if grade == "HGG" else 0.0, ripple, float(swelling))
