"""The 2D U-Net of the SoftSeg paper."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

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

    Example: `model: {name: unet2d, depth: 4, filters: 32, dropout: 0.2, head: {name: sigmoid}}`
    """

    axes: ClassVar[int] = 2

    name: Literal["unet2d"] = "unet2d"
    depth: Annotated[int, Field(ge=1, le=6)] = 3
    """Number of downsamplings by 2; the paper has 3 for the spinal cord and 4 for the brain"""
    filters: Annotated[int, Field(ge=1, le=1024)] = 64
    """Filters of the first level, doubled at each further one (64, 128, 256)"""
    head: Head = NormRelu()
    """Head that turns logits into a prediction in [0, 1]: `sigmoid` or `normrelu`"""

    def __call__(self, channels: int = 1, targets: int = 1) -> Unet2dNetwork:
        """Create the network, freshly initialized from torch's global generator."""
        network = Unet2dNetwork(self, channels, targets)
        bias = self.head.initial_bias()
        if bias is not None and network.last.bias is not None:
            nn.init.constant_(network.last.bias, bias)
        return network


class Unet2dNetwork(nn.Module):
    """Slices (B, C, H, W) -> logits (B, K, H, W); a head turns them into a prediction.

    With depth 3, 64 filters, one channel and one target it has 4,837,249 parameters, with depth 4
    and four channels 19,592,257: as many as the published networks.
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
        self.end = spec.make_output_dropout()
        self.last = nn.Conv2d(widths[0], targets, kernel_size=3, padding=1)
        # of the largest tensor of a forward pass, usually the input of the decoder's last block
        self.elements_per_voxel = max(channels, sum([upwards[0], *upwards][-2:]), targets)

    def forward(self, slices: Tensor) -> Tensor:
        """Return the logits of slices (B, C, H, W), with any H and W of at least 2**depth.

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
            features = upsample(features, skip.shape[-2:])  # odd sizes included
            features = block(torch.cat([features, skip], dim=1))
        logits: Tensor = self.last(self.end(features))
        return logits

    def _check_size(self, slices: Tensor) -> None:
        """Raise UserError for slices too small to be halved, or to leave a norm two values.

        A norm cannot take its statistics from a single value at the bottom: batch norm in
        training from all slices of the batch, instance norm always from one.
        """
        batch_size, _, height, width = slices.shape
        depth = len(self.encoder)
        smallest = 2**depth
        if min(height, width) >= smallest:
            values = (height >> depth) * (width >> depth)
            if self.norm == "batch":
                enough = not self.training or batch_size * values >= 2
            else:
                enough = values >= 2
            if enough:
                return
            smallest *= 2
        raise UserError(
            f"slices of {height}x{width} voxels are too small for a U-Net of depth {depth}; "
            f"crop or pad to at least {smallest}x{smallest}, or lower model.depth"
        )


def upsample(features: Tensor, size: torch.Size) -> Tensor:
    """Interpolate features (B, C, h, w) linearly to a size (H, W): (B, C, H, W).

    Corners are aligned as in the paper's code. On a GPU, torch's own backward pass adds in any
    order; where results must be deterministic, two products with fixed matrices replace it, equal
    to rounding. They are computed in float32, since weights in bfloat16 would not add up to 1.
    """
    if features.is_cpu or not torch.are_deterministic_algorithms_enabled():
        return F.interpolate(features, size=size, mode="bilinear", align_corners=True)
    with torch.autocast(features.device.type, enabled=False):
        values = features.to(torch.promote_types(features.dtype, torch.float32))
        rows, columns = (
            _interpolation_matrix(old, new, values)
            for old, new in zip(features.shape[-2:], size, strict=True)
        )
        return (rows @ (values @ columns.T)).to(features.dtype)


def _interpolation_matrix(old: int, new: int, like: Tensor) -> Tensor:
    """Return the weights (new, old) of linear interpolation between `old` aligned positions."""
    positions = torch.arange(new, dtype=like.dtype, device=like.device) * (
        (old - 1) / max(new - 1, 1)
    )
    corners = torch.arange(old, dtype=like.dtype, device=like.device)
    return (1 - (positions[:, None] - corners).abs()).clamp(min=0)
