"""What a U-Net is made of: blocks of two convolutions, and a dropout that is cheap on a CPU."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from softseg.core.component import Component


class BlockOptions(Component):
    """The choices inside a block of two 3x3 convolutions; the defaults are the paper's.

    The reference toolbox, with which the paper's figures were made, has the ReLU before the
    batch norm and drops whole channels: `block: conv_relu_norm`, `dropout_by: channel`.
    """

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Share of activations set to 0 in training, 0 (none) to below 1; by element it is rounded \
to n/256, at least 1/256"""
    dropout_by: Literal["element", "channel"] = "element"
    """What is dropped together: single activations, or a whole channel of a sample"""
    dropout_position: Literal["every_convolution", "block_end", "before_output_layer"] = (
        "every_convolution"
    )
    """After every convolution (the paper's), every block, or only before the last convolution; \
dropout ahead of a batch norm makes its statistics differ between training and evaluation, which \
can leave a NormReLU dead in evaluation, and at the network's end none is ahead"""
    block: Literal["conv_norm_relu", "conv_relu_norm"] = "conv_norm_relu"
    """Order of norm and ReLU after a convolution"""
    norm: Literal["batch", "instance"] = "batch"
    """Batch norm (the paper's), or instance norm: each slice on its own, in training as in \
evaluation; it needs more than one voxel at the bottom"""
    norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Weight of the newest batch in batch norm's running statistics; the published configurations \
have 0.9"""

    def make_block(self, inputs: int, outputs: int) -> nn.Sequential:
        """Two convolutions: (B, inputs, H, W) -> (B, outputs, H, W)."""
        layers = [*self._convolution(inputs, outputs), *self._dropout_at("every_convolution")]
        layers += self._convolution(outputs, outputs)
        layers += self._dropout_at("every_convolution", "block_end")
        return nn.Sequential(*layers)

    def make_end(self) -> nn.Sequential:
        """What lies between the last block and the last convolution: a dropout, or nothing."""
        return nn.Sequential(*self._dropout_at("before_output_layer"))

    def _convolution(self, inputs: int, outputs: int) -> list[nn.Module]:
        after: list[nn.Module] = [self._norm(outputs), nn.ReLU(inplace=True)]
        if self.block == "conv_relu_norm":
            after.reverse()
        return [nn.Conv2d(inputs, outputs, kernel_size=3, padding=1), *after]

    def _norm(self, width: int) -> nn.Module:
        if self.norm == "batch":
            return nn.BatchNorm2d(width, momentum=self.norm_momentum)
        return nn.InstanceNorm2d(width, affine=True)

    def _dropout_at(self, *places: str) -> list[nn.Module]:
        if self.dropout == 0 or self.dropout_position not in places:
            return []
        by_element = self.dropout_by == "element"
        return [ByteDropout(self.dropout) if by_element else nn.Dropout2d(self.dropout)]


class ByteDropout(nn.Dropout):
    """Element dropout that takes one random byte per element, from torch's global generator.

    On a CPU the random numbers are nearly all that dropout costs; eight elements share one
    64-bit draw here. The share kept is a whole number of 256ths, and kept values are divided
    by exactly that share, so the expectation is the input. A GPU draws its own numbers cheaply
    and uses torch's dropout, with the same share.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)
        self.kept = kept_of(p)

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, same shape; the input itself in evaluation."""
        if not self.training:
            return input
        if input.device.type != "cpu":
            return F.dropout(input, 1 - self.kept / 256)
        keep = random_bytes(input.shape) < self.kept
        return input * keep.to(input.dtype).mul_(256 / self.kept)


def kept_of(p: float) -> int:
    """How many of 256 bytes stay where a share p is dropped: 1 to 255, as bytes go up to 255."""
    return min(255, max(1, round(256 * (1 - p))))


def random_bytes(shape: torch.Size, generator: torch.Generator | None = None) -> Tensor:
    """Return uniform bytes of a shape, by drawing 64 bits for eight of them.

    They are on the generator's device; without one, torch's global generator draws on the CPU.
    """
    count = shape.numel()
    device = "cpu" if generator is None else generator.device
    words = torch.empty((count + 7) // 8, dtype=torch.int64, device=device)
    words.random_(-(2**63), None, generator=generator)
    return words.view(torch.uint8)[:count].view(shape)
