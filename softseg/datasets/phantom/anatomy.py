"""One person's neck: a spinal cord with its gray-matter butterfly in the dural sac.

Coordinates are millimeters about the center of the image: x to one side, y to the front
(anterior), z along the cord. Sizes are those of the adult cervical cord: about 13 x 8.5 mm,
gray matter 13 to 18 mm2 of some 85 mm2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softseg.core.types import FloatArray
from softseg.datasets.phantom.shapes import Curve, blend, ellipse, horn, rotated


@dataclass(frozen=True)
class Anatomy:
    """The shape parameters of one subject; lengths in mm, angles in radians."""

    center_x: Curve
    center_y: Curve
    angle: Curve
    cord_a: Curve
    """half the cord's width"""
    cord_b: Curve
    """half the cord's depth"""
    size: Curve
    """factor on the butterfly"""
    ventral: Curve
    """factor on the ventral horns' radii"""
    dorsal: Curve
    """factor on the dorsal horns' thickness"""
    reach: Curve
    """how far the dorsal horns reach to the back"""
    spread: Curve
    """how far apart the dorsal horns' tips are from the midline"""
    asymmetry: float
    """relative difference of the two sides"""
    sac_a: float
    """space between cord and dura at the sides"""
    sac_b: float
    """the same in front and at the back"""
    sac_shift: float
    """how far the sac's center is in front of the cord's"""

    def local(self, x: FloatArray, y: FloatArray, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return coordinates about the cord's own center, along its own axes."""
        return rotated(x - self.center_x(z), y - self.center_y(z), self.angle(z))

    def sac(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the depth in the dural sac: cerebrospinal fluid, and the cord in it."""
        u, v = self.local(x, y, z)
        a, b = self.cord_a(z) + self.sac_a, self.cord_b(z) + self.sac_b
        return ellipse(u, v - self.sac_shift, a, b)

    def cord(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the depth in the cord: an ellipse without the anterior median fissure."""
        u, v = self.local(x, y, z)
        a, b = self.cord_a(z), self.cord_b(z)
        front, floor = b + 0.5, 0.42 * b
        middle, radius = np.zeros_like(b), np.full_like(b, 0.1)
        fissure = horn(u, v, (middle, floor, 0.5 * radius), (middle, front, radius))
        return np.minimum(ellipse(u, v, a, b), -fissure)

    def gray(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the depth in the gray matter: round ventral horns, thin dorsal ones, a bridge."""
        u, v = self.local(x, y, z)
        side = np.abs(u) * (1 + self.asymmetry * np.sign(u))
        scale = self.size(z)
        butterfly = scale * self._wing(side / scale, v / scale, z)
        return np.minimum(butterfly, self.cord(x, y, z))

    def _wing(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the depth in the right half of a butterfly of nominal size (x >= 0)."""
        ventral, dorsal = self.ventral(z), self.dorsal(z)
        ones = np.ones_like(ventral)
        head_x, head_y = rotated(x - 2.05, y - 1.05, np.asarray(-0.5))
        head = ellipse(head_x, head_y, 1.2 * ventral, 0.88 * ventral)
        neck_end = (1.15 * ones, -0.35 * ones, 0.5 * ones)
        neck = horn(x, y, (1.75 * ones, 0.8 * ones, 0.62 * ones), neck_end)
        tip = (self.spread(z), -self.reach(z), 0.3 * dorsal)
        tail = horn(x, y, (1.1 * ones, -0.4 * ones, 0.48 * dorsal), tip)
        bridge_end = (1.2 * ones, -0.1 * ones, 0.34 * ones)
        bridge = horn(x, y, (0 * ones, -0.1 * ones, 0.3 * ones), bridge_end)
        return blend(blend(head, neck, 0.5), blend(tail, bridge, 0.4), 0.4)


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """Sample a subject: every quantity has its own mean, and its own slow wave along the cord."""

    def curve(mean: float, between: float, along: float) -> Curve:
        """Sample a curve with the half range `between` subjects and the amplitude `along` z."""
        return Curve(
            mean=mean + between * rng.uniform(-1, 1),
            amplitude=along * rng.uniform(0.4, 1),
            wavelength=rng.uniform(40, 80),
            phase=rng.uniform(0, 2 * np.pi),
        )

    return Anatomy(
        center_x=curve(0, 1.0, 0.7),
        center_y=curve(0, 1.0, 0.8),
        angle=curve(0, 0.07, 0.03),
        cord_a=curve(6.5, 0.4, 0.25),
        cord_b=curve(4.2, 0.25, 0.2),
        size=curve(0.98, 0.06, 0.04),
        ventral=curve(1.0, 0.1, 0.12),
        dorsal=curve(1.0, 0.12, 0.12),
        reach=curve(2.75, 0.2, 0.15),
        spread=curve(2.35, 0.25, 0.15),
        asymmetry=rng.uniform(-0.04, 0.04),
        sac_a=rng.uniform(1.8, 3.2),
        sac_b=rng.uniform(1.6, 2.4),
        sac_shift=rng.uniform(0.2, 1.0),
    )
