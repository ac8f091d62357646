"""Closed shapes as signed depth: millimeters to the edge, positive inside, zero on it.

Every function broadcasts its arguments, so that a shape may change along the cord: in-plane
coordinates in mm of shape (1, S, N) meet parameters of shape (Z, 1, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softseg.core.types import FloatArray

TINY = 1e-9


@dataclass(frozen=True)
class Curve:
    """A quantity that varies smoothly along the cord: one sine wave about its mean."""

    mean: float
    amplitude: float
    wavelength: float
    """mm"""
    phase: float
    """radians"""

    def __call__(self, z: FloatArray) -> FloatArray:
        """The value at the heights `z` in mm, of the same shape."""
        wave: FloatArray = self.mean + self.amplitude * np.sin(
            2 * np.pi * z / self.wavelength + self.phase
        )
        return wave


def _length(x: FloatArray, y: FloatArray) -> FloatArray:
    length: FloatArray = np.sqrt(x * x + y * y)  # np.hypot guards against overflow, at 5 x the time
    return length


def ellipse(x: FloatArray, y: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """Depth in the ellipse of semi-axes `a`, `b` about the origin, to first order at its edge."""
    radius = _length(x / a, y / b) + TINY
    slope = _length(x / a**2, y / b**2) + TINY
    depth: FloatArray = radius * (1 - radius) / slope
    return depth


def horn(
    x: FloatArray,
    y: FloatArray,
    start: tuple[FloatArray, FloatArray, FloatArray],
    end: tuple[FloatArray, FloatArray, FloatArray],
) -> FloatArray:
    """Depth in a rod with round ends whose radius runs from one end to the other.

    `start` and `end` are (x, y, radius), all in mm.
    """
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    from_x, from_y = x - start[0], y - start[1]
    share = (from_x * along_x + from_y * along_y) / (along_x**2 + along_y**2)
    share = np.clip(share, 0, 1)
    radius = start[2] + share * (end[2] - start[2])
    depth: FloatArray = radius - _length(from_x - share * along_x, from_y - share * along_y)
    return depth


def blend(one: FloatArray, other: FloatArray, width: float) -> FloatArray:
    """The union of two shapes, its inner corners rounded over `width` mm (0 keeps them sharp)."""
    union = np.maximum(one, other)
    if width == 0:
        return union
    near = np.maximum(width - np.abs(one - other), 0)
    rounded: FloatArray = union + near**2 / (4 * width)
    return rounded


def turned(x: FloatArray, y: FloatArray, angle: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Coordinates seen from a frame that is turned by `angle` radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


def ellipsoid(
    x: FloatArray, y: FloatArray, z: FloatArray, axes: tuple[float, float, float]
) -> FloatArray:
    """Depth in the ellipsoid of semi-axes `axes` about the origin, to first order at its edge."""
    u, v, w = x / axes[0], y / axes[1], z / axes[2]
    radius = np.sqrt(u * u + v * v + w * w) + TINY
    u, v, w = u / axes[0], v / axes[1], w / axes[2]
    slope = np.sqrt(u * u + v * v + w * w) + TINY
    depth: FloatArray = radius * (1 - radius) / slope
    return depth
