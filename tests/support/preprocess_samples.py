"""One subject in memory, as `load` returns it."""

from __future__ import annotations

import numpy as np

from softseg.data.nifti.grid import Grid
from softseg.data.sample import Sample


def sample(image, target=None, roi=None, affine=None):
    """Image (X, Y, Z) or (C, X, Y, Z), target likewise (default: empty), on `affine` (1 mm)."""
    image = np.asarray(image, dtype=np.float32)
    image = image[None] if image.ndim == 3 else image
    target = np.zeros(image.shape[1:]) if target is None else target
    target = np.asarray(target, dtype=np.float32)
    target = target[None] if target.ndim == 3 else target
    grid = Grid(image.shape[1:], np.eye(4) if affine is None else affine)
    roi = None if roi is None else np.asarray(roi, dtype=np.float32)
    return Sample(image, target, roi, (), grid, {"files": (0, 1), "raters": (0, 1)})


def noise(shape, seed=0, low=1.0, high=900.0):
    """Uniform noise, float32."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)
