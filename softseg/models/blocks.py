"""Blocks of a U-Net: two convolutions each, dropout that is cheap on a CPU, frozen blocks."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from softseg.core.component import Component


class BlockOptions(Component):
    """Options of a block of two 3x3 convolutions; the defaults are the paper's.

    The reference toolbox that the paper used has the ReLU before the batch norm and drops whole
    channels: `block: conv_relu_norm`, `dropout_by: channel`.
    """

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Fraction of activations set to 0 in training, from 0 (none) to below 1; by element it is \
rounded to n/256, at least 1/256"""
    dropout_by: Literal["element", "channel"] = "element"
    """Unit that is dropped: single activations, or a whole channel of a sample"""
    dropout_position: Literal["every_convolution", "block_end", "before_output_layer"] = (
        "every_convolution"
    )
    """After every convolution (as in the paper), after every block, or only before the last \
convolution. Dropout before a batch norm makes its statistics differ between training and \
evaluation, which can leave a NormReLU dead in evaluation; `before_output_layer` avoids that"""
    block: Literal["conv_norm_relu", "conv_relu_norm"] = "conv_norm_relu"
    """Order of norm and ReLU after a convolution"""
    norm: Literal["batch", "instance"] = "batch"
    """Batch norm (as in the paper), or instance norm: each slice on its own, in training and in \
evaluation; it needs more than one voxel at the bottom"""
    norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Weight of the newest batch in batch norm's running statistics; the published configurations \
have 0.9"""

    def make_block(self, inputs: int, outputs: int) -> nn.Sequential:
        """Create a block of two convolutions: (B, inputs, H, W) -> (B, outputs, H, W)."""
        layers = [*self._convolution(inputs, outputs), *self._dropout_at("every_convolution")]
        layers += self._convolution(outputs, outputs)
        layers += self._dropout_at("every_convolution", "block_end")
        return nn.Sequential(*layers)

    def make_output_dropout(self) -> nn.Sequential:
        """Create the dropout between the last block and the last convolution, or nothing."""
        return nn.Sequential(*self._dropout_at("before_output_layer"))

    def _convolution(self, inputs: int, outputs: int) -> list[nn.Module]:
        """Create a 3x3 convolution with its norm and ReLU."""
        norm: nn.Module
        if self.norm == "batch":
            norm = nn.BatchNorm2d(outputs, momentum=self.norm_momentum)
        else:
            norm = nn.InstanceNorm2d(outputs, affine=True)
        following = [norm, nn.ReLU(inplace=True)]
        if self.block == "conv_relu_norm":
            following.reverse()
        return [nn.Conv2d(inputs, outputs, kernel_size=3, padding=1), *following]

    def _dropout_at(self, *positions: str) -> list[nn.Module]:
        """Create the dropout of a position in the network; empty unless it is configured there."""
        if self.dropout == 0 or self.dropout_position not in positions:
            return []
        by_element = self.dropout_by == "element"
        return [ByteDropout(self.dropout) if by_element else nn.Dropout2d(self.dropout)]


class ByteDropout(nn.Dropout):
    """Element dropout that takes one random byte per element, from torch's global generator.

    On a CPU, random numbers are most of the cost of dropout; here eight elements share one random
    64-bit number. The kept fraction is a whole number of 256ths, and kept values are divided by
    exactly that fraction, so the expectation is the input. A GPU has cheap random numbers of its
    own and uses torch's dropout, with the same fraction.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)
        self.kept = kept_of(p)

    def forward(self, input: Tensor) -> Tensor:
        """Return values of the same, arbitrary shape; in evaluation the input itself."""
        if not self.training:
            return input
        if input.device.type != "cpu":
            return F.dropout(input, 1 - self.kept / 256)
        keep = random_bytes(input.shape) < self.kept
        return input * keep.to(input.dtype).mul_(256 / self.kept)


def kept_of(p: float) -> int:
    """Return how many of 256 byte values are kept if a fraction p is dropped: 1 to 255."""
    return min(255, max(1, round(256 * (1 - p))))


def random_bytes(shape: torch.Size, generator: torch.Generator | None = None) -> Tensor:
    """Return uniform bytes of a shape, on the CPU, by drawing 64 bits for eight of them.

    Without a generator, torch's global one draws.
    """
    count = shape.numel()
    words = torch.empty((count + 7) // 8, dtype=torch.int64)
    words.random_(-(2**63), None, generator=generator)
    return words.view(torch.uint8)[:count].view(shape)


class Frozen(nn.Sequential):
    """A block that stays in evaluation mode, whatever mode the network around it is set to."""

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - the signature of every module
        """Set evaluation mode, so that statistics do not drift and outputs are reproducible."""
        return super().train(False)


def block_names(network: nn.Module) -> list[str]:
    """Return a network's blocks in the order of the data: encoder.0 ... bottom, decoder.0 ..."""
    return [
        name
        for name, part in network.named_modules()
        if isinstance(part, nn.Sequential) and any(True for _ in part.parameters())
    ]


def freeze(network: nn.Module, count: int) -> None:
    """Freeze the first `count` blocks: no gradients, evaluation mode. Their names do not change."""
    for name in block_names(network)[:count]:
        parent, _, child = name.rpartition(".")
        block = Frozen(*network.get_submodule(name).children())
        setattr(network.get_submodule(parent), child, block.requires_grad_(False).eval())
