"""Closed shapes as signed depth: millimeters to the edge, positive inside, zero on it.

Every function broadcasts its arguments, so that a shape may change along the cord: in-plane
coordinates in mm of shape (1, S, N) meet parameters of shape (Z, 1, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softseg.core.types import FloatArray

TINY = 1e-9
Point = tuple[float, float, float]


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
        """Return the value at the heights `z` in mm, of the same shape."""
        wave: FloatArray = self.mean + self.amplitude * np.sin(
            2 * np.pi * z / self.wavelength + self.phase
        )
        return wave


@dataclass(frozen=True)
class Ripple:
    """A smooth wave in space, of mean 0 and at most 1, which makes edges uneven."""

    wavelength: float
    """mm"""
    phases: Point
    """radians"""

    def __call__(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the wave at points in mm."""
        k = 2 * np.pi / self.wavelength
        a, b, c = self.phases
        wave: FloatArray = np.sin(k * x + a) * np.sin(k * y + b) + np.sin(k * z + c) * np.cos(k * x)
        return wave / 2


@dataclass(frozen=True)
class Blob:
    """A rotated ellipsoid with an uneven edge, the shape of lesions and tumors; mm and radians."""

    center: Point
    axes: Point
    angles: tuple[float, float]
    ripple: Ripple
    height: float
    """the most by which the ripple displaces the edge"""

    @property
    def reach(self) -> float:
        """The radius of a ball about the center that contains the blob."""
        return max(self.axes) + self.height

    @property
    def volume(self) -> float:
        """The volume of the ellipsoid, mm3."""
        return 4 / 3 * np.pi * float(np.prod(self.axes))

    def __call__(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the depth in the blob, to first order at its edge."""
        u, v, w = x - self.center[0], y - self.center[1], z - self.center[2]
        u, v = rotate(u, v, np.asarray(self.angles[0]))
        v, w = rotate(v, w, np.asarray(self.angles[1]))
        return ellipsoid(u, v, w, self.axes) + self.height * self.ripple(x, y, z)


def sample_ripple(rng: np.random.Generator, wavelength: float) -> Ripple:
    """Sample a ripple with crests anywhere; `wavelength` in mm."""
    a, b, c = rng.uniform(0, 2 * np.pi, 3)
    return Ripple(wavelength, (float(a), float(b), float(c)))


def sample_blob(rng: np.random.Generator, center: Point, volume: float, uneven: float) -> Blob:
    """Sample a blob of about `volume` mm3; its radius varies by the fraction `uneven`."""
    radius = (3 * volume / (4 * np.pi)) ** (1 / 3)
    stretch = np.exp(rng.uniform(-0.35, 0.35, 3))
    a, b, c = radius * stretch / np.prod(stretch) ** (1 / 3)
    turn, tilt = rng.uniform(0, np.pi, 2)
    ripple = sample_ripple(rng, 3 * radius)
    axes = (float(a), float(b), float(c))
    return Blob(center, axes, (float(turn), float(tilt)), ripple, uneven * radius)


def ellipse(x: FloatArray, y: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the depth in the ellipse of semi-axes `a`, `b` about the origin, to first order."""
    radius = _length(x / a, y / b) + TINY
    slope = _length(x / a**2, y / b**2) + TINY
    depth: FloatArray = radius * (1 - radius) / slope
    return depth


def ellipsoid(x: FloatArray, y: FloatArray, z: FloatArray, axes: Point) -> FloatArray:
    """Return the depth in the ellipsoid of semi-axes `axes` about the origin, to first order."""
    u, v, w = x / axes[0], y / axes[1], z / axes[2]
    radius = np.sqrt(u * u + v * v + w * w) + TINY
    u, v, w = u / axes[0], v / axes[1], w / axes[2]
    slope = np.sqrt(u * u + v * v + w * w) + TINY
    depth: FloatArray = radius * (1 - radius) / slope
    return depth


def horn(
    x: FloatArray,
    y: FloatArray,
    start: tuple[FloatArray, FloatArray, FloatArray],
    end: tuple[FloatArray, FloatArray, FloatArray],
) -> FloatArray:
    """Return the depth in a rod with round ends and a radius that changes from end to end.

    `start` and `end` are (x, y, radius), all in mm.
    """
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    from_x, from_y = x - start[0], y - start[1]
    position = (from_x * along_x + from_y * along_y) / (along_x**2 + along_y**2)
    position = np.clip(position, 0, 1)
    radius = start[2] + position * (end[2] - start[2])
    depth: FloatArray = radius - _length(from_x - position * along_x, from_y - position * along_y)
    return depth


def _length(x: FloatArray, y: FloatArray) -> FloatArray:
    length: FloatArray = np.sqrt(x * x + y * y)  # np.hypot guards against overflow, at 5 x the time
    return length


def blend(first: FloatArray, second: FloatArray, width: float) -> FloatArray:
    """Return the union of two shapes, its inner corners rounded over `width` mm."""
    near = np.maximum(width - np.abs(first - second), 0)
    rounded: FloatArray = np.maximum(first, second) + near**2 / (4 * width)
    return rounded


def rotate(x: FloatArray, y: FloatArray, angle: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return coordinates in a frame that is rotated by `angle` radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * x + sin * y, cos * y - sin * x
