"""Slices -> soft segmentations, whole volumes at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from softseg.device import Precision, autocast


@dataclass(frozen=True)
class Predictor:
    """A network and its head, ready to segment.

    The head sees a whole volume at once, so a NormReLU's maximum, and with it the prediction,
    does not depend on how the slices were batched (contract 5).
    """

    model: nn.Module
    head: nn.Module
    device: torch.device
    precision: Precision = "float32"
    batch_size: int = 16

    @torch.no_grad()
    def logits(self, image: Tensor) -> Tensor:
        """All slices (S, C, H, W) of one volume -> logits (S, K, H, W), float32."""
        self.model.eval()
        with autocast(self.device, self.precision):
            parts = [self.model(part.to(self.device)) for part in image.split(self.batch_size)]
        return torch.cat(parts).float()

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        """All slices (S, C, H, W) of one volume -> soft segmentation (S, K, H, W) in [0, 1]."""
        self.head.eval()
        soft: Tensor = self.head(self.logits(image))
        return soft
