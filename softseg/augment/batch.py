"""What augmentation works on: the named slots of one batch, transformed by the same parameters."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Slices on the device.

    image (B, C, H, W) float32; target (B, K, H, W) float32 in [0, 1]; fill (B, C), the
    standardised background that stands outside the image.
    """

    image: Tensor
    target: Tensor
    fill: Tensor
