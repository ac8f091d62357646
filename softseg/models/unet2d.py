"""The 2D U-Net of the SoftSeg paper."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from softseg.core.errors import UserError
from softseg.models.blocks import BlockOptions
from softseg.models.heads import Head, NormRelu


class Unet2d(BlockOptions):
    """A 2D U-Net (Gros et al. 2020, section 2.3.7, after Ronneberger et al. 2015).

    Each level of the encoder doubles the filters and halves the slice; the bottom does not
    double. The decoder upsamples, concatenates the encoder's features and halves again.
    """

    name: Literal["unet2d"] = "unet2d"
    depth: Annotated[int, Field(ge=1, le=6)] = 3
    """Number of downsamplings by 2; the paper has 3 for the spinal cord and 4 for the brain"""
    filters: Annotated[int, Field(ge=1, le=1024)] = 64
    """Filters of the first level, doubled at each further one (64, 128, 256)"""
    head: Head = NormRelu()
    """What turns logits into a prediction in [0, 1]: `sigmoid` or `normrelu`"""

    def __call__(self, channels: int = 1, targets: int = 1) -> Unet2dNetwork:
        """The network, freshly initialized from torch's global generator.

        Args:
            channels: number C of input contrasts.
            targets: number K of outputs.
        """
        network = Unet2dNetwork(self, channels, targets)
        bias = self.head.initial_bias()
        if bias is not None and network.last.bias is not None:
            nn.init.constant_(network.last.bias, bias)
        return network


class Unet2dNetwork(nn.Module):
    """Slices (B, C, H, W) -> logits (B, K, H, W); apply a head to them for a prediction.

    Depth 3, 64 filters, one channel and one target make 4,837,249 parameters; depth 4 with
    four channels 19,592,257: as many as the published networks have.
    """

    def __init__(self, spec: Unet2d, channels: int, targets: int) -> None:
        super().__init__()
        self.norm = spec.norm
        widths = [spec.filters * 2**level for level in range(spec.depth)]
        upwards = widths[::-1]
        self.encoder = nn.ModuleList(
            spec.make_block(a, b) for a, b in pairwise([channels, *widths])
        )
        self.bottom = spec.make_block(upwards[0], upwards[0])
        self.decoder = nn.ModuleList(
            spec.make_block(below + skip, skip) for below, skip in pairwise([upwards[0], *upwards])
        )
        self.end = spec.make_end()
        self.last = nn.Conv2d(widths[0], targets, kernel_size=3, padding=1)

    def forward(self, slices: Tensor) -> Tensor:
        """Slices (B, C, H, W), H and W at least 2**depth and otherwise any.

        Raises:
            UserError: the slices are too small to be halved `depth` times.
        """
        self._check_size(slices)
        features, skips = slices, []
        for block in self.encoder:
            skips.append(block(features))
            features = F.max_pool2d(skips[-1], kernel_size=2)
        features = self.bottom(features)
        for block, skip in zip(self.decoder, reversed(skips), strict=True):
            features = block(torch.cat([_upsampled(features, skip), skip], dim=1))
        logits: Tensor = self.last(self.end(features))
        return logits

    def _check_size(self, slices: Tensor) -> None:
        height, width = slices.shape[-2:]
        smallest = 2 ** len(self.encoder)
        if min(height, width) >= smallest:
            if not self._lone_value_at_bottom(slices):
                return
            smallest *= 2
        raise UserError(
            f"slices of {height}x{width} voxels are too small for a U-Net of depth "
            f"{len(self.encoder)}: crop or pad to at least {smallest}x{smallest}, "
            "or lower model.depth"
        )

    def _lone_value_at_bottom(self, slices: Tensor) -> bool:
        """Whether a norm would have a single value to take its statistics from."""
        batch, _, height, width = slices.shape
        values = (height >> len(self.encoder)) * (width >> len(self.encoder))
        if self.norm == "batch":
            return self.training and batch * values < 2
        return values < 2


def _upsampled(features: Tensor, skip: Tensor) -> Tensor:
    """To the size of the skip, odd sizes included; corners aligned, as the published networks."""
    return F.interpolate(features, size=skip.shape[-2:], mode="bilinear", align_corners=True)
