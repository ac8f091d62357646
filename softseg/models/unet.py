"""The U-Nets: one implementation for slices (2D, the SoftSeg paper's) and for patches (3D)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from softseg.core.errors import UserError
from softseg.models.blocks import (
    CONVOLUTIONS,
    TRANSPOSED_CONVOLUTIONS,
    BlockOptions,
    ResidualBlock,
)
from softseg.models.heads import Head, NormRelu
from softseg.models.levels import Levels, plan_kernels, plan_strides
from softseg.models.recompute import recomputed

_MODES = {2: "bilinear", 3: "trilinear"}
_MAX_POOLINGS = {2: F.max_pool2d, 3: F.max_pool3d}
PerAxis = tuple[Annotated[int, Field(ge=1, le=15)], ...]
Filters = Annotated[int, Field(ge=1, le=4096)]
BlockCount = Annotated[int, Field(ge=1, le=16)]


class Unet(BlockOptions):
    """A U-Net of any rank: the fields that `unet2d` and `unet3d` share, and their checks."""

    axes: ClassVar[int]

    depth: Annotated[int, Field(ge=1, le=6)] = 3
    """Number of downsamplings; the paper has 3 for the spinal cord and 4 for the brain"""
    filters: Annotated[int, Field(ge=1, le=1024)] = 64
    """Filters of the first level, doubled at each further one (64, 128, 256)"""
    max_filters: Filters | None = None
    """Largest number of filters of a level (nnU-Net: 320 in 3D, 512 in 2D). null: no limit"""
    double_bottom: bool = False
    """Whether the bottom has twice the filters of the level above it (as in nnU-Net), or as many \
(as in the paper's code)"""
    encoder: Literal["plain", "residual"] = "plain"
    """Blocks of the encoder and the bottom: convolutions, or residual blocks of two convolutions \
each (He et al. 2016), as in nnU-Net's residual encoder"""
    residual_blocks: BlockCount | tuple[BlockCount, ...] = 1
    """With `encoder: residual`: number of residual blocks of every level, or a list with that of \
each of the `depth` + 1 levels (nnU-Net: [1, 3, 4, 6, 6])"""
    downsample: Literal["max_pool", "strided_convolution"] = "max_pool"
    """Maximum over the stride (as in the paper), or a first convolution with that stride (as in \
nnU-Net), which saves memory"""
    upsample: Literal["linear", "transposed_convolution"] = "linear"
    """Linear interpolation (as in the paper's code), or a learned transposed convolution whose \
kernel is the stride (as in nnU-Net), which also halves the number of channels and so is faster"""
    strides: tuple[PerAxis, ...] | None = None
    """Stride of each of the `depth` downsamplings along each axis, as [[2, 2, 1], [2, 2, 2]]. \
null: 2 along both axes in 2D; in 3D from the spacing and the size of the patches by nnU-Net's \
rule, and written to the run's config.yaml"""
    kernels: tuple[PerAxis, ...] | None = None
    """Kernel of each of the `depth` + 1 levels along each axis, odd, the bottom last. null: 3 \
along both axes in 2D; in 3D from the spacing by nnU-Net's rule, and written to config.yaml"""
    output_kernel: Literal[1, 3] = 3
    """Kernel of the last convolution: 3 (as in the paper's code; at most the kernel of the first \
level) or 1"""
    deep_supervision: bool = False
    """Whether the decoder's coarser levels have an output and a loss of their own in training, as \
in nnU-Net; needs a depth of 3 or more"""
    head: Head = NormRelu()
    """Head that turns logits into a prediction in [0, 1]: `sigmoid` or `normrelu`"""

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        """Reject lists that do not fit the depth and the number of axes."""
        lists = (
            ("strides", self.strides, self.depth, "downsamplings"),
            ("kernels", self.kernels, self.depth + 1, "levels, the bottom included"),
        )
        for key, levels, count, what in lists:
            if levels is None:
                continue
            if len(levels) != count:
                raise ValueError(
                    f"{key}: {len(levels)} entries; a depth of {self.depth} has {count} {what}"
                )
            if wrong := [level for level in levels if len(level) != self.axes]:
                raise ValueError(
                    f"{key}: {list(wrong[0])} has {len(wrong[0])} values; "
                    f"write {self.axes}, one for each axis"
                )
        if even := [k for level in self.kernels or () for k in level if k % 2 == 0]:
            raise ValueError(f"kernels: {even[0]} is even; use odd kernels, such as 1 or 3")
        if idle := [level for level in self.strides or () if max(level) == 1]:
            raise ValueError(
                f"strides: {list(idle[0])} does not downsample; one of its values must be 2 or more"
            )
        return self

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        """Reject combinations of options that have no network."""
        blocks = self.residual_blocks
        if isinstance(blocks, tuple) and len(blocks) != self.depth + 1:
            raise ValueError(
                f"residual_blocks: {len(blocks)} entries; a depth of {self.depth} has "
                f"{self.depth + 1} levels, the bottom included"
            )
        if self.encoder == "residual" and self.block != "conv_norm_relu":
            raise ValueError(
                "encoder: residual adds before the last activation, so it needs "
                "block: conv_norm_relu"
            )
        if self.norm == "group":
            for key, count in (("filters", self.filters), ("max_filters", self.max_filters)):
                if count is not None and count % self.norm_groups:
                    raise ValueError(
                        f"norm_groups: {self.norm_groups} does not divide {key}: {count}"
                    )
        if self.deep_supervision and self.depth < 3:
            raise ValueError(
                f"deep_supervision: a depth of {self.depth} has no level to supervise, since the "
                "coarsest level of the decoder is left out; use a depth of 3 or more"
            )
        return self

    def planned(self, patch_size: Sequence[int], spacing_mm: Sequence[float]) -> Self:
        """Return the spec with `strides` and `kernels` where they are null in 3D.

        They follow from the voxels of a sample along each axis and their spacing in mm, see
        `levels.plan_levels`. In 2D nothing changes.

        Raises:
            UserError: such samples cannot be halved `depth` times.
        """
        if self.axes == 2:
            return self
        strides = self.strides or plan_strides(patch_size, spacing_mm, self.depth)
        kernels = self.kernels or plan_kernels(spacing_mm, strides)
        return self.model_copy(update={"strides": strides, "kernels": kernels})

    @property
    def level_strides(self) -> Levels:
        """The stride of each downsampling along each axis, finest first; 2 unless configured."""
        return self.strides or ((2,) * self.axes,) * self.depth

    @property
    def level_kernels(self) -> Levels:
        """The kernel of each level along each axis, the bottom last; 3 unless configured."""
        return self.kernels or ((3,) * self.axes,) * (self.depth + 1)

    @property
    def level_filters(self) -> tuple[int, ...]:
        """The number of filters of each level, the bottom last."""
        last = self.depth if self.double_bottom else self.depth - 1
        filters = [self.filters * 2 ** min(level, last) for level in range(self.depth + 1)]
        return tuple(min(count, self.max_filters or count) for count in filters)

    @property
    def divisor(self) -> tuple[int, ...]:
        """The product of the strides along each axis: of which sizes are best a multiple."""
        return tuple(math.prod(along) for along in zip(*self.level_strides, strict=True))

    def __call__(self, channels: int = 1, targets: int = 1) -> UnetNetwork:
        """Create the network, freshly initialized from torch's global generator."""
        network = UnetNetwork(self, channels, targets)
        bias = self.head.initial_bias()
        if bias is not None:
            for output in (network.last, *network.coarser_outputs):
                assert isinstance(output.bias, Tensor)
                nn.init.constant_(output.bias, bias)
        return network

    def make_level(
        self, level: int, inputs: int, outputs: int, stride: Sequence[int] | None
    ) -> nn.Sequential:
        """Create the block of a level of the encoder, or of the bottom."""
        kernel = self.level_kernels[level]
        if self.encoder == "plain":
            return self.make_block(inputs, outputs, kernel, stride)
        counts = self.residual_blocks
        count = counts if isinstance(counts, int) else counts[level]
        layers: list[nn.Module] = []
        if level == 0:
            layers += self.make_convolution(inputs, outputs, kernel)
            layers += self.make_dropout("every_convolution")
            inputs = outputs
        for _ in range(count):
            layers.append(ResidualBlock(self, inputs, outputs, kernel, stride))
            inputs, stride = outputs, None
        return nn.Sequential(*layers, *self.make_dropout("block_end"))


class Unet2d(Unet):
    """A 2D U-Net (Gros et al. 2020, section 2.3.7, after Ronneberger et al. 2015).

    Each level of the encoder doubles the filters and halves the slice; the bottom does not
    double. The decoder upsamples, concatenates the encoder's features and halves again.

    Example: `model: {name: unet2d, depth: 4, filters: 32, dropout: 0.2, head: {name: sigmoid}}`
    """

    axes: ClassVar[int] = 2

    name: Literal["unet2d"] = "unet2d"


class Unet3d(Unet):
    """A 3D U-Net (Çiçek et al. 2016, arXiv 1606.06650) with nnU-Net's layers and rule for strides.

    Its layers are those of nnU-Net (Isensee et al. 2021): instance norm, because a batch of
    patches is too small for the statistics of batch norm; leaky ReLUs; no dropout; strided and
    transposed convolutions, which are faster on a CPU than pooling and linear upsampling; and a
    bottom of twice the filters. Its first level has 16 filters, nnU-Net's 32, which takes about
    four times the time.

    Example: `model: {name: unet3d, depth: 3, filters: 16, head: {name: sigmoid, prior: 0.02}}`
    """

    axes: ClassVar[int] = 3

    name: Literal["unet3d"] = "unet3d"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of activations set to 0 in training, from 0 (none) to below 1; by element it is \
rounded to n/256, at least 1/256"""
    norm: Literal["batch", "instance", "group"] = "instance"
    """Instance norm: each channel of each sample on its own, in training and in evaluation, so \
that small batches have no effect on it; group norm: the same for groups of channels; or batch \
norm. Instance norm needs more than one voxel at the bottom"""
    activation: Literal["relu", "leaky_relu"] = "leaky_relu"
    """Leaky ReLU with a slope of 0.01 below 0, whose gradient never vanishes, or ReLU"""
    filters: Annotated[int, Field(ge=1, le=1024)] = 16
    """Filters of the first level, doubled at each further one (16, 32, 64); nnU-Net has 32"""
    max_filters: Filters | None = 320
    """Largest number of filters of a level. null: no limit"""
    double_bottom: bool = True
    """Whether the bottom has twice the filters of the level above it, or as many"""
    downsample: Literal["max_pool", "strided_convolution"] = "strided_convolution"
    """Maximum over the stride, or a first convolution with that stride, which saves memory"""
    upsample: Literal["linear", "transposed_convolution"] = "transposed_convolution"
    """Linear interpolation, or a learned transposed convolution whose kernel is the stride, which \
also halves the number of channels and so is faster"""
    output_kernel: Literal[1, 3] = 1
    """Kernel of the last convolution: 1, or 3 (at most the kernel of the first level)"""


class UnetNetwork(nn.Module):
    """Samples (B, C, *spatial) -> logits (B, K, *spatial); a head turns them into a prediction.

    In training with deep supervision it returns a tuple of logits, the finest first, then those of
    coarser levels of the decoder, each of the size of its level.

    The 2D network with depth 3, 64 filters, one channel and one target has 4,837,249 parameters,
    with depth 4 and four channels 19,592,257: as many as the published networks.
    """

    def __init__(self, spec: Unet, channels: int, targets: int) -> None:
        super().__init__()
        self.norm = spec.norm
        self.axes = spec.axes
        # whether the backward pass computes the blocks again instead of keeping their feature maps
        self.checkpoint_blocks = False
        self.strides = spec.level_strides
        self.divisor = spec.divisor
        # sizes that a stride does not divide are rounded down, or up where a transposed
        # convolution, which only multiplies sizes, has to reach at least the size of the level
        self.round_up = (spec.downsample, spec.upsample) != ("max_pool", "linear")
        self.pooled = spec.downsample == "max_pool"
        filters, kernels = spec.level_filters, spec.level_kernels
        *encoder, bottom = (
            spec.make_level(
                level,
                filters[level - 1] if level else channels,
                filters[level],
                None if level == 0 or self.pooled else self.strides[level - 1],
            )
            for level in range(spec.depth + 1)
        )
        self.encoder = nn.ModuleList(encoder)
        self.bottom = bottom
        upwards = range(spec.depth - 1, -1, -1)
        transposed = spec.upsample == "transposed_convolution"
        self.upsamplers = nn.ModuleList(
            TRANSPOSED_CONVOLUTIONS[spec.axes](
                filters[level + 1], filters[level], self.strides[level], self.strides[level]
            )
            for level in upwards
            if transposed
        )
        from_below = [filters[level + (not transposed)] for level in range(spec.depth)]
        self.decoder = nn.ModuleList(
            spec.make_block(from_below[level] + filters[level], filters[level], kernels[level])
            for level in upwards
        )
        self.end = nn.Sequential(*spec.make_dropout("before_output_layer"))
        kernel = tuple(min(spec.output_kernel, width) for width in kernels[0])
        self.last = CONVOLUTIONS[spec.axes](
            filters[0], targets, kernel, padding=tuple(width // 2 for width in kernel)
        )
        supervised = range(1, spec.depth - 1) if spec.deep_supervision else ()
        self.coarser_outputs = nn.ModuleList(
            CONVOLUTIONS[spec.axes](filters[level], targets, 1) for level in supervised
        )
        # channels of the largest tensor of a forward pass, usually the input of the decoder's last
        # block: a coarser level has at most twice the channels and at most half the voxels
        self.elements_per_voxel = max(channels, from_below[0] + filters[0], targets)

    def forward(self, samples: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the logits of samples (B, C, *spatial), of any size of at least the `divisor`.

        Raises:
            UserError: the samples have another number of axes, or are too small to be downsampled.
        """
        self._check_size(samples)
        skips: list[Tensor] = []
        features = samples
        for block, stride in zip(self.encoder, self.strides, strict=True):
            features = self._output(block, features)
            skips.append(features)
            if self.pooled:
                features = _MAX_POOLINGS[self.axes](features, stride, ceil_mode=self.round_up)
        features = self._output(self.bottom, features)
        coarser: list[Tensor] = []
        for number, (block, skip) in enumerate(zip(self.decoder, reversed(skips), strict=True)):
            features = self._upsampled(features, number, skip.shape[2:])
            features = self._output(block, torch.cat([features, skip], dim=1))
            level = len(skips) - 1 - number
            if self.training and 0 < level <= len(self.coarser_outputs):
                coarser.insert(0, self.coarser_outputs[level - 1](features))
        logits: Tensor = self.last(self.end(features))
        return (logits, *coarser) if coarser else logits

    def _output(self, block: nn.Module, features: Tensor) -> Tensor:
        """Return the output of a block."""
        if self.checkpoint_blocks and self.training and torch.is_grad_enabled():
            return recomputed(block, features)
        output: Tensor = block(features)
        return output

    def _upsampled(self, features: Tensor, number: int, size: torch.Size) -> Tensor:
        """Return the input of a block of the decoder from below, of a size."""
        if not self.upsamplers:
            return upsample(features, size)  # odd sizes included
        enlarged: Tensor = self.upsamplers[number](features)
        for axis, length in enumerate(size, start=2):
            enlarged = enlarged.narrow(axis, 0, length)
        return enlarged

    def _check_size(self, samples: Tensor) -> None:
        """Raise UserError for samples too small to be downsampled, or to leave a norm two values.

        A norm cannot take its statistics from a single value at the bottom: batch norm in
        training from all samples of the batch, instance norm always from one.
        """
        kind, fix = {
            2: ("slices", "crop or pad to"),
            3: ("patches", "set patches.size to"),
        }[self.axes]
        size = tuple(samples.shape[2:])
        if len(size) != self.axes:
            raise UserError(
                f"a network of {self.axes} spatial axes takes {kind} (B, C, *spatial), but these "
                f"samples have the shape {tuple(samples.shape)}"
            )
        smallest = self.divisor
        if all(length >= least for length, least in zip(size, smallest, strict=True)):
            values = math.prod(self._bottom_size(size))
            if self.norm == "batch":
                enough = not self.training or len(samples) * values >= 2
            else:
                enough = values >= 2 or self.norm == "group"
            if enough:
                return
            smallest = tuple(2 * least for least in smallest)
        raise UserError(
            f"{kind} of {_by(size)} voxels are too small for a U-Net of depth {len(self.strides)}; "
            f"{fix} at least {_by(smallest)}, or lower model.depth"
        )

    def _bottom_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the size at the bottom for samples of a size."""
        for strides in self.strides:
            more = [stride - 1 if self.round_up else 0 for stride in strides]
            size = [
                (n + extra) // stride for n, extra, stride in zip(size, more, strides, strict=True)
            ]
        return tuple(size)


def _by(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))


def upsample(features: Tensor, size: torch.Size) -> Tensor:
    """Interpolate features (B, C, *old) linearly to a size: (B, C, *size).

    Corners are aligned as in the paper's code. On a GPU, torch's own backward pass adds in any
    order; where results must be deterministic, a product with a fixed matrix for each axis replaces
    it, equal to rounding. They are computed in float32, since weights in bfloat16 would not add up
    to 1.
    """
    if features.is_cpu or not torch.are_deterministic_algorithms_enabled():
        return F.interpolate(features, size=size, mode=_MODES[len(size)], align_corners=True)
    with torch.autocast(features.device.type, enabled=False):
        values = features.to(torch.promote_types(features.dtype, torch.float32))
        *first, rows, columns = (
            _interpolation_matrix(old, new, values)
            for old, new in zip(features.shape[2:], size, strict=True)
        )
        values = rows @ (values @ columns.T)
        for matrix in first:  # in 3D, the first of the three axes
            values = (matrix @ values.flatten(-2)).unflatten(-1, size[-2:])
        return values.to(features.dtype)


def _interpolation_matrix(old: int, new: int, like: Tensor) -> Tensor:
    """Return the weights (new, old) of linear interpolation between `old` aligned positions."""
    positions = torch.arange(new, dtype=like.dtype, device=like.device) * (
        (old - 1) / max(new - 1, 1)
    )
    corners = torch.arange(old, dtype=like.dtype, device=like.device)
    return (1 - (positions[:, None] - corners).abs()).clamp(min=0)
