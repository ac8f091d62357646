"""From tissue fractions to a T2*-weighted scan: mixing, coil sensitivity, noise.

In T2*-weighted images of the cord gray matter is a little brighter than white matter (ratio 1.1
to 1.2), cerebrospinal fluid about twice as bright, bone and air dark.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from softseg.core.types import FloatArray
from softseg.datasets.phantom.partial_volume import centers
from softseg.datasets.phantom.raters import smooth_field
from softseg.datasets.phantom.shapes import ellipse

Zooms = tuple[float, float, float]


@dataclass(frozen=True)
class Scanner:
    """What a site's images look like; intensities in units of the scanner, white matter first."""

    white: float
    """mean of white matter"""
    gray: float
    """gray matter / white matter"""
    fluid: float
    """cerebrospinal fluid / white matter"""
    noise: float
    """standard deviation / white matter"""
    texture: float
    """relative standard deviation of the tissues' own unevenness, a few mm wide"""
    bias: float
    """largest relative deviation of the receive field, about"""


@dataclass(frozen=True, eq=False)
class Tissues:
    """The share of each voxel, (X, Y, Z) each in [0, 1], that is gray, white, or fluid."""

    gray: FloatArray
    white: FloatArray
    fluid: FloatArray


def mix(tissues: Tissues, outside: FloatArray, scanner: Scanner) -> FloatArray:
    """The noise-free signal: means weighted by fraction, `outside` filling what is left."""
    inside = tissues.gray * scanner.gray + tissues.white + tissues.fluid * scanner.fluid
    rest = 1 - tissues.gray - tissues.white - tissues.fluid
    signal: FloatArray = scanner.white * (inside + rest * outside)
    return signal


def receive_field(
    rng: np.random.Generator, shape: tuple[int, int, int], zooms: Zooms, scanner: Scanner
) -> FloatArray:
    """Smooth multiplicative field (X, Y, Z): a slope and a bowl, times the tissue's texture."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    a, b, c, d, e = rng.uniform(-1, 1, 5)
    wave = (a * x + b * y + 0.5 * c * z + d * (x**2 - 1 / 3) + e * (y**2 - 1 / 3)) / 2
    fine = smooth_field(rng, shape, (1.5 / zooms[0], 1.5 / zooms[1], 0.4))
    field: FloatArray = np.exp(scanner.bias * wave) * (1 + scanner.texture * fine)
    return field


def surroundings(rng: np.random.Generator, sac: FloatArray, zooms: Zooms) -> FloatArray:
    """What lies outside the sac, relative to white matter: bone, vertebra, muscle, air.

    `sac` is the depth in the sac (X, Y, Z) in mm. Edges are one voxel wide.
    """
    shape = (sac.shape[0], sac.shape[1], sac.shape[2])
    x, y = np.meshgrid(
        *[centers(n, s) for n, s in zip(shape[:2], zooms[:2], strict=True)], indexing="ij"
    )
    half_x, half_y = shape[0] * zooms[0] / 2, shape[1] * zooms[1] / 2

    def inside(depth: FloatArray) -> FloatArray:
        share: FloatArray = np.clip(depth / zooms[0] + 0.5, 0, 1)
        return share[..., None] if depth.ndim == 2 else share

    muscle = 0.55 * (1 + 0.25 * smooth_field(rng, shape, (2 / zooms[0], 2 / zooms[1], 0.5)))
    body = inside(ellipse(x, y, np.asarray(half_x - 1), np.asarray(half_y - 1)))
    vertebra = inside(ellipse(x, y - 15, np.asarray(10.0), np.asarray(6.5)))
    bone = inside(sac + 2.5)
    signal = muscle * body
    signal = signal + vertebra * (0.35 * body - signal)
    outside: FloatArray = signal + bone * (0.15 * body - signal)
    return outside


def measure(rng: np.random.Generator, signal: FloatArray, scanner: Scanner) -> NDArray[np.int16]:
    """The magnitude image (X, Y, Z): Rician noise, rounded to integers."""
    sigma = scanner.noise * scanner.white
    real = signal + sigma * rng.standard_normal(signal.shape)
    imaginary = sigma * rng.standard_normal(signal.shape)
    return np.hypot(real, imaginary).round().astype(np.int16)
