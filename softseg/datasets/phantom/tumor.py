"""A glioma: necrosis within a rim that takes up contrast agent, surrounded by edema.

A low grade glioma has no rim: its core is solid and takes up no contrast agent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softseg.core.types import FloatArray
from softseg.datasets.phantom.brain import Brain
from softseg.datasets.phantom.shapes import Blob, Ripple, sample_blob, sample_ripple

GRADES = ("HGG", "LGG")

VOLUMES = (800.0, 6000.0)
"""Smallest and largest tumor core, mm3, in a brain at two thirds of its size."""


@dataclass(frozen=True)
class Tumor:
    """The shape parameters of one tumor; lengths in mm. All shapes are nested."""

    core: Blob
    rim: float
    """mean thickness of the enhancing rim; 0: no rim"""
    ripple: Ripple
    """makes rim and edema uneven"""
    edema: float
    """how far the edema reaches beyond the core on average"""

    @property
    def reach(self) -> float:
        """The radius of a ball about the core's center that contains the whole tumor."""
        return self.core.reach + 2.2 * self.edema

    def core_depth(self, brain: Brain, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the depth in the core, which stays in the brain and outside the ventricles."""
        within = np.minimum(brain.outline(x, y, z) - 1, -brain.ventricle(x, y, z))
        return np.asarray(np.minimum(self.core(x, y, z), within))

    def layers(self, brain: Brain, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the depths in the necrosis and in the whole tumor, (2, X, Y, Z).

        The edema stays in white matter.
        """
        core = self.core_depth(brain, x, y, z)
        blob, wave = self.core(x, y, z), self.ripple(x, y, z)
        necrosis = np.minimum(core, blob - self.rim * (1 + 0.6 * wave))
        white = brain.layers(x, y, z)[2]
        edema = np.minimum(blob + self.edema * (1 + 1.2 * wave), white)
        return np.stack([necrosis, np.maximum(core, edema)])


def sample_tumor(rng: np.random.Generator, brain: Brain, grade: str, reach: float) -> Tumor:
    """Sample a tumor in one hemisphere, with its center within `reach` mm of the middle slice."""
    while True:
        x, y, z = (rng.uniform(-1, 1, 3) * (26, 32, reach)).tolist()
        smallest, largest = VOLUMES
        volume = smallest * (largest / smallest) ** rng.random()
        core = sample_blob(rng, (x, y, z), volume, 0.3)
        rim, edema = rng.uniform((1.6, 3.0), (2.8, 7.0))
        ripple = sample_ripple(rng, 22.0)
        depth = brain.outline(*(np.asarray(v) for v in core.center))
        if abs(x) > 9 and float(depth) > 0.8 * core.reach + 3:
            return Tumor(core, float(rim) if grade == "HGG" else 0.0, ripple, float(edema))
