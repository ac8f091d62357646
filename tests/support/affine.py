"""An affine of known parameters, applied to every sample of a batch."""

from __future__ import annotations

import torch

from softseg.augment import Affine, Batch


def moved_by(
    batch: Batch,
    angle: float = 0.0,
    scale: float | tuple[float, float] = 1.0,
    down: float = 0.0,
    right: float = 0.0,
    *,
    shift_first: bool = False,
) -> Batch:
    """Rotate by an angle in radians, shift by shares of the size, and scale a batch of slices."""
    count = len(batch.image)
    scales = scale if isinstance(scale, tuple) else (scale, scale)
    parameters = {
        "changed": torch.ones(count, dtype=torch.bool),
        "angles": torch.full((count, 1), float(angle)),
        "scale": torch.tensor([scales]).float().repeat(count, 1),
        "translation": torch.tensor([[down, right]]).float().repeat(count, 1),
        "shear": torch.eye(2).repeat(count, 1, 1),
    }
    return Affine(whole_pixels=shift_first).apply(batch, parameters)
