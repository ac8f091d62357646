"""Blocks of a U-Net of any rank: convolutions, residual blocks, cheap dropout, frozen blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from softseg.core.component import Component


class _Conv3d(nn.Conv3d):
    """A 3D convolution that PyTorch differentiates correctly in bfloat16 on a CPU.

    Where an input is shorter than the kernel along an axis, oneDNN's gradient of the weights is
    wrong there, even infinite (torch 2.13, all sizes from 1 to 8 compared): such small maps are
    computed in float32.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return features (B, outputs, X, Y, Z) of features (B, inputs, X, Y, Z)."""
        pairs = zip(input.shape[2:], self.kernel_size, strict=True)
        is_short = input.device.type == "cpu" and any(length < width for length, width in pairs)
        if is_short and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return super().forward(input.float())
        return super().forward(input)


class _InstanceNorm3d(nn.InstanceNorm3d):
    """An instance norm that keeps the memory format `channels_last` of its input on a CPU.

    PyTorch's copies such an input and its output to other layouts, a fifth of the time of a
    training step; here each sample is a batch of one, whose batch norm is the same.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return normalized features (B, C, X, Y, Z)."""
        last = input.is_contiguous(memory_format=torch.channels_last_3d)
        if not input.is_cpu or not last or input.is_contiguous():
            return super().forward(input)
        normalized = [
            F.batch_norm(sample, None, None, self.weight, self.bias, training=True, eps=self.eps)
            for sample in input.split(1)
        ]
        return normalized[0] if len(normalized) == 1 else torch.cat(normalized)


Layers = dict[int, type[nn.Module]]
"""Number of spatial axes -> the layer of that rank."""
CONVOLUTIONS: Layers = {2: nn.Conv2d, 3: _Conv3d}
TRANSPOSED_CONVOLUTIONS: Layers = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH_NORMS: Layers = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE_NORMS: Layers = {2: nn.InstanceNorm2d, 3: _InstanceNorm3d}
CHANNEL_DROPOUTS: Layers = {2: nn.Dropout2d, 3: nn.Dropout3d}
MEAN_POOLINGS: Layers = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


class BlockOptions(Component):
    """Options of a block of convolutions; the defaults are the paper's.

    The reference toolbox that the paper used has the ReLU before the batch norm and drops whole
    channels: `block: conv_relu_norm`, `dropout_by: channel`.
    """

    axes: ClassVar[int] = 2
    """Number of spatial axes of the samples: 2 (slices) or 3 (patches)"""

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
    """Order of norm and activation after a convolution"""
    norm: Literal["batch", "instance", "group"] = "batch"
    """Batch norm (as in the paper); instance norm: each channel of each sample on its own, in \
training and in evaluation; or group norm: the same for groups of channels. Instance norm needs \
more than one voxel at the bottom"""
    norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Weight of the newest batch in batch norm's running statistics; the published configurations \
have 0.9"""
    norm_groups: Annotated[int, Field(ge=1, le=1024)] = 8
    """Number of groups of channels of group norm; it must divide `filters` and `max_filters`"""
    activation: Literal["relu", "leaky_relu"] = "relu"
    """ReLU (as in the paper), or leaky ReLU with a slope of 0.01 below 0 (as in nnU-Net), whose \
gradient never vanishes"""
    convolutions: Annotated[int, Field(ge=1, le=8)] = 2
    """Number of convolutions in a block; with `encoder: residual` in a block of the decoder"""

    def make_block(
        self,
        inputs: int,
        outputs: int,
        kernel: Sequence[int] | None = None,
        stride: Sequence[int] | None = None,
    ) -> nn.Sequential:
        """Create a block of convolutions: (B, inputs, *spatial) -> (B, outputs, *spatial).

        `kernel` is 3 along every axis by default; the first convolution has the `stride`.
        """
        layers: list[nn.Module] = []
        for number in range(self.convolutions):
            layers += self.make_convolution(inputs, outputs, kernel, stride)
            positions = ["every_convolution"]
            if number == self.convolutions - 1:
                positions.append("block_end")
            layers += self.make_dropout(*positions)
            inputs, stride = outputs, None
        return nn.Sequential(*layers)

    def make_convolution(
        self,
        inputs: int,
        outputs: int,
        kernel: Sequence[int] | None = None,
        stride: Sequence[int] | None = None,
    ) -> list[nn.Module]:
        """Create a convolution that pads with zeros, its norm and its activation."""
        kernel = tuple(kernel or (3,) * self.axes)
        convolution = CONVOLUTIONS[self.axes](
            inputs,
            outputs,
            kernel,
            stride=tuple(stride or (1,) * self.axes),
            padding=tuple(width // 2 for width in kernel),
        )
        following = [self.make_norm(outputs), self.make_activation()]
        if self.block == "conv_relu_norm":
            following.reverse()
        return [convolution, *following]

    def make_norm(self, channels: int) -> nn.Module:
        """Create the norm of so many channels."""
        if self.norm == "batch":
            return BATCH_NORMS[self.axes](channels, momentum=self.norm_momentum)
        if self.norm == "instance":
            return INSTANCE_NORMS[self.axes](channels, affine=True)
        return nn.GroupNorm(self.norm_groups, channels)

    def make_activation(self) -> nn.Module:
        """Create the activation, which overwrites its input."""
        if self.activation == "leaky_relu":
            return nn.LeakyReLU(0.01, inplace=True)
        return nn.ReLU(inplace=True)

    def make_dropout(self, *positions: str) -> list[nn.Module]:
        """Create the dropout of a position in the network; empty unless it is configured there."""
        if self.dropout == 0 or self.dropout_position not in positions:
            return []
        by_element = self.dropout_by == "element"
        return [
            ByteDropout(self.dropout) if by_element else CHANNEL_DROPOUTS[self.axes](self.dropout)
        ]


class ResidualBlock(nn.Module):
    """Two convolutions whose output is added to their input before the last activation.

    Where they change the size, the input is averaged over the stride; where they change the number
    of channels, it passes through a convolution of kernel 1. Source: He et al. 2016 (arXiv
    1512.03385), with the averaging of He et al. 2019 (arXiv 1812.01187), as in nnU-Net's residual
    encoder. The scale of the last norm starts at 0, so that the block starts as its input (Goyal
    et al. 2017, arXiv 1706.02677).
    """

    def __init__(
        self,
        options: BlockOptions,
        inputs: int,
        outputs: int,
        kernel: Sequence[int],
        stride: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        first = options.make_convolution(inputs, outputs, kernel, stride)
        *second, _ = options.make_convolution(outputs, outputs, kernel)
        assert isinstance(second[-1].weight, Tensor)
        nn.init.zeros_(second[-1].weight)
        dropout = options.make_dropout("every_convolution")
        self.convolutions = nn.Sequential(*first, *dropout, *second)
        shortcut: list[nn.Module] = []
        if stride is not None and max(stride) > 1:
            size = tuple(stride)
            shortcut.append(MEAN_POOLINGS[options.axes](size, ceil_mode=True))
        if inputs != outputs:
            point = CONVOLUTIONS[options.axes](inputs, outputs, kernel_size=1, bias=False)
            shortcut += [point, options.make_norm(outputs)]
        self.shortcut = nn.Sequential(*shortcut)
        self.activation = nn.Sequential(
            options.make_activation(), *options.make_dropout("every_convolution")
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features (B, outputs, *spatial), the size divided by the stride, rounded up."""
        result: Tensor = self.activation(self.convolutions(features) + self.shortcut(features))
        return result


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
    names: list[str] = []
    for name, part in network.named_modules():
        inside = any(name.startswith(f"{block}.") for block in names)  # of a residual block
        if isinstance(part, nn.Sequential) and not inside and any(True for _ in part.parameters()):
            names.append(name)
    return names


def freeze(network: nn.Module, count: int) -> None:
    """Freeze the first `count` blocks: no gradients, evaluation mode. Their names do not change.

    A block of the decoder includes the transposed convolution before it, if there is one.
    """
    for name in block_names(network)[:count]:
        parent, _, child = name.rpartition(".")
        block = Frozen(*network.get_submodule(name).children())
        setattr(network.get_submodule(parent), child, block.requires_grad_(False).eval())
        if parent == "decoder" and (upsamplers := dict(network.named_children()).get("upsamplers")):
            upsamplers.get_submodule(child).requires_grad_(False)
