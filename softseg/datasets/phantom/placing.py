"""Where a scan lies in the scanner."""

from __future__ import annotations

import numpy as np

from softseg.core.types import Float64Array

Range = tuple[tuple[float, float, float], tuple[float, float, float]]


def draw_affine(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    zooms: tuple[float, float, float],
    centers: Range,
) -> Float64Array:
    """Voxel -> world mm (4, 4), RAS; every other scan or so is tilted by up to 12 degrees.

    `centers`: the lowest and the highest world coordinates of the scan's middle, mm.
    """
    tilt, turn = np.deg2rad(rng.uniform((3, -4), (12, 4))) * (rng.random() < 0.5)
    cos, sin = np.cos((tilt, turn)), np.sin((tilt, turn))
    about_x = np.array([[1, 0, 0], [0, cos[0], -sin[0]], [0, sin[0], cos[0]]])
    about_z = np.array([[cos[1], -sin[1], 0], [sin[1], cos[1], 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_z @ np.diag(zooms)
    center = rng.uniform(*centers)
    affine[:3, 3] = center - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine
