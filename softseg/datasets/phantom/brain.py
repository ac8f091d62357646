"""One person's brain at two thirds of its size: folds, ventricles, deep gray matter.

Coordinates are millimeters about the center of the image: x to one side, y to the front, z up.
At two thirds, a slice fits in 96 x 112 voxels of 1 mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softseg.core.types import FloatArray
from softseg.datasets.phantom.partial_volume import VoxelBox, approximate_fractions
from softseg.datasets.phantom.scanner import Tissues
from softseg.datasets.phantom.shapes import Ripple, blend, ellipsoid, rotate, sample_ripple

FOLD = 15.0
"""Wavelength of the cortical folds, mm."""

CORTEX = 1.9
"""Thickness of the cortex, mm."""


@dataclass(frozen=True)
class Brain:
    """The shape parameters of one brain; lengths in mm."""

    axes: tuple[float, float, float]
    """the outline's semi-axes"""
    center: tuple[float, float, float]
    ripple: Ripple
    """displaces the outline from an ellipsoid"""
    warp: Ripple
    """makes the folds irregular"""
    sulci: float
    """how deep below the outline the sulci reach"""
    ventricles: float
    """factor on the ventricles' width"""
    asymmetry: float
    """relative difference of the two sides"""

    def local(
        self, x: FloatArray, y: FloatArray, z: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return coordinates about the brain's own center."""
        return x - self.center[0], y - self.center[1], z - self.center[2]

    def outline(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the depth in the brain mask: the brain with the fluid about it."""
        return ellipsoid(*self.local(x, y, z), self.axes) + 1.5 * self.ripple(x, y, z)

    def tissue(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the depth in the brain without the sulci and the interhemispheric fissure."""
        u, v, w = self.local(x, y, z)
        outline = self.outline(x, y, z)
        # the folds are a bent gyroid; about the distance to it in mm
        k, bend = 2 * np.pi / FOLD, 1.2 * self.warp(x, y, z)
        a, b, c = k * x + bend, k * y - bend, k * z + bend
        gyroid = np.sin(a) * np.cos(b) + np.sin(b) * np.cos(c) + np.sin(c) * np.cos(a)
        to_fold = np.abs(gyroid) / (1.25 * k)
        sulcus = 0.45 - to_fold - np.maximum(outline - self.sulci, 0)
        separate = np.maximum(np.abs(v + 2) - 18, w - 12)  # where the hemispheres do not meet
        fissure = np.minimum(0.6 - np.abs(u - 0.4 * self.warp(x, y, z)), separate)
        return np.asarray(np.minimum(outline - 0.7, -np.maximum(sulcus, fissure)))

    def ventricle(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the depth in the two lateral ventricles and the third one."""
        u, v, w = self.local(x, y, z)
        side, wide = np.abs(u) * (1 + self.asymmetry * np.sign(u)), self.ventricles
        front = rotate(side - 4.2, v - 10, np.asarray(-0.3))
        back = rotate(side - 6.0, v + 11, np.asarray(0.3))
        horns = blend(
            ellipsoid(*front, w - 1, (2.3 * wide, 9.5, 6.5)),
            ellipsoid(*back, w - 2, (2.7 * wide, 12.5, 6.5)),
            1.0,
        )
        return np.maximum(horns, ellipsoid(side, v - 1, w + 5, (0.9 * wide, 6, 5)))

    def nuclei(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the depth in the deep gray matter: caudate, thalamus, putamen."""
        u, v, w = self.local(x, y, z)
        side = np.abs(u) * (1 + self.asymmetry * np.sign(u))
        caudate = ellipsoid(side - 8.3, v - 9, w, (2.4, 5.5, 6))
        thalamus = ellipsoid(side - 5.5, v + 4, w + 4, (4.2, 6.5, 5.5))
        oblique = rotate(side - 16, v - 1, np.asarray(-0.25))
        putamen = ellipsoid(*oblique, w + 3, (3.0, 9.0, 6))
        return np.maximum(np.maximum(caudate, thalamus), putamen)

    def layers(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the depths in the outline, its solid tissue and white matter, (3, X, Y, Z)."""
        tissue, outside_ventricles = self.tissue(x, y, z), -self.ventricle(x, y, z)
        solid = np.minimum(tissue, outside_ventricles)
        subcortical = np.minimum(tissue - CORTEX, outside_ventricles)
        white = np.minimum(subcortical, -self.nuclei(x, y, z))
        return np.stack([self.outline(x, y, z), solid, white])


def sample_brain(rng: np.random.Generator) -> Brain:
    """Sample a subject: every quantity varies about its own mean."""
    size = rng.uniform(0.96, 1.03)
    a, b, c = size * np.array([41.0, 50.0, 40.0]) * rng.uniform(0.98, 1.02, 3)
    x, y, z = rng.uniform(-1, 1, 3) * (1.0, 1.0, 2.0)
    return Brain(
        axes=(float(a), float(b), float(c)),
        center=(float(x), float(y), float(z)),
        ripple=sample_ripple(rng, 45.0),
        warp=sample_ripple(rng, 33.0),
        sulci=rng.uniform(7, 10),
        ventricles=rng.uniform(0.75, 1.4),
        asymmetry=rng.uniform(-0.06, 0.06),
    )


def brain_tissues(brain: Brain, box: VoxelBox) -> tuple[Tissues, FloatArray]:
    """Return the disjoint fractions of gray, white and fluid, and the outline's, (X, Y, Z) each."""
    outline, solid, white = approximate_fractions(brain.layers, box)
    return Tissues(gray=solid - white, white=white, fluid=outline - solid), outline
