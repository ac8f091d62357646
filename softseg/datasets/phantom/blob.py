"""A lobed ellipsoid anywhere in a head: what lesions and tumors are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softseg.core.types import FloatArray
from softseg.datasets.phantom.shapes import ellipsoid, turned

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Ripple:
    """A smooth wave in space, of mean 0 and at most 1, that makes edges uneven."""

    wavelength: float
    """mm"""
    phases: Point
    """radians"""

    def __call__(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """The wave at points in mm."""
        k = 2 * np.pi / self.wavelength
        a, b, c = self.phases
        wave: FloatArray = np.sin(k * x + a) * np.sin(k * y + b) + np.sin(k * z + c) * np.cos(k * x)
        return wave / 2


@dataclass(frozen=True)
class Blob:
    """An ellipsoid, turned, with an uneven edge; lengths in mm, angles in radians."""

    center: Point
    axes: Point
    angles: tuple[float, float]
    ripple: Ripple
    height: float
    """how far the ripple displaces the edge at most"""

    @property
    def reach(self) -> float:
        """The radius of a ball about the center that holds the blob."""
        return max(self.axes) + self.height

    @property
    def volume(self) -> float:
        """That of the ellipsoid, mm3."""
        return 4 / 3 * np.pi * float(np.prod(self.axes))

    def __call__(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Signed depth in mm, positive inside, to first order at the edge."""
        u, v, w = x - self.center[0], y - self.center[1], z - self.center[2]
        u, v = turned(u, v, np.asarray(self.angles[0]))
        v, w = turned(v, w, np.asarray(self.angles[1]))
        return ellipsoid(u, v, w, self.axes) + self.height * self.ripple(x, y, z)


def draw_ripple(rng: np.random.Generator, wavelength: float) -> Ripple:
    """A ripple whose crests lie anywhere; `wavelength` in mm."""
    a, b, c = rng.uniform(0, 2 * np.pi, 3)
    return Ripple(wavelength, (float(a), float(b), float(c)))


def draw_blob(rng: np.random.Generator, center: Point, volume: float, uneven: float) -> Blob:
    """A blob of about `volume` mm3; its edge goes in and out by `uneven` of its radius."""
    radius = (3 * volume / (4 * np.pi)) ** (1 / 3)
    stretch = np.exp(rng.uniform(-0.35, 0.35, 3))
    a, b, c = radius * stretch / np.prod(stretch) ** (1 / 3)
    turn, tilt = rng.uniform(0, np.pi, 2)
    ripple = draw_ripple(rng, 3 * radius)
    axes = (float(a), float(b), float(c))
    return Blob(center, axes, (float(turn), float(tilt)), ripple, uneven * radius)
