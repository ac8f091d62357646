"""The batch of slices or patches that training steps and augmentations work on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from softseg.core.ranks import BatchPart
from softseg.data.masks import TOLERANCE


@dataclass(frozen=True)
class Frame:
    """The slices or patches of a batch, as far as spatial steps depend on them."""

    shape: tuple[int, ...]  # voxels along each axis, d of them
    spacing: Tensor  # (B, d), mm, on the CPU
    device: torch.device  # of the image

    @property
    def half_size(self) -> Tensor:
        """Half of the size in mm, (B, d): the length of 1 in normalized coordinates."""
        return self.spacing * torch.tensor(self.shape) / 2


@dataclass(frozen=True)
class SourceVolume:
    """The whole volume that a patch was cut from: views of the store, which nothing changes.

    Spatial steps interpolate from it, so that tissue next to the patch moves into it.
    """

    corner: tuple[int, int, int]  # its voxel at the patch's first voxel; < 0 where it is smaller
    image: Tensor  # (1, C, X, Y, Z)
    target: Tensor  # (1, K, X, Y, Z)
    maps: Mapping[str, Tensor] = field(default_factory=dict)  # kind -> (1, K, X, Y, Z)
    ignore: Tensor | None = None  # (1, K, X, Y, Z)
    weight: Tensor | None = None  # (1, K, X, Y, Z)

    @classmethod
    def of_sample(cls, batch: Batch) -> SourceVolume:
        """Return the only sample of a batch as a volume of which it is the whole."""
        image, target, maps = batch.image, batch.target, batch.maps
        return cls((0, 0, 0), image, target, maps, batch.ignore, batch.weight)

    def map_tensors(self, function: Callable[[Tensor], Tensor]) -> SourceVolume:
        """Return the volume with a function applied to its tensors."""
        return replace(self, image=function(self.image), **_mapped_targets(self, function))


@dataclass(frozen=True)
class Batch:
    """The samples of one batch that this process computes: on the device, but for `spacing`."""

    image: Tensor  # (B, C, *spatial) float32; of `slices`, each with all contrasts
    target: Tensor  # (B, K, *spatial) float32 in [0, 1]
    fill: Tensor  # (B, C): the standardized background, which is outside of the image
    maps: Mapping[str, Tensor] = field(default_factory=dict)  # kind -> (B, K, *spatial), for a loss
    ignore: Tensor | None = None  # (B, K, *spatial), 1 where the target is unknown; None: nowhere
    part: BatchPart | None = None  # which samples of the batch these are; None: all
    spacing: Tensor | None = None  # (B, d), on the CPU: mm between voxels; None: 1 mm
    target_names: tuple[str, ...] = ()  # K names, for steps that exchange targets
    weight: Tensor | None = None  # (B, K, *spatial) in [0, 1], of the loss; None: 1 everywhere
    slices: int = 1  # how many the channels of the image are of: a slice and its neighbors
    sources: tuple[SourceVolume, ...] = ()  # of each patch, until it is augmented; of slices none

    @property
    def batch_size(self) -> int:
        """Number of samples over all processes."""
        return len(self.image) if self.part is None else self.part.batch_size

    @property
    def share_weight(self) -> float:
        """Weight of this process's mean loss in the mean over processes."""
        return 1.0 if self.part is None else self.part.weight

    @property
    def frame(self) -> Frame:
        """What spatial steps need to know of the samples."""
        shape = tuple(self.image.shape[2:])
        spacing = self.spacing
        if spacing is None:
            spacing = torch.ones(len(self.image), len(shape))
        return Frame(shape, spacing, self.image.device)

    def own_share(self, values: Tensor) -> Tensor:
        """Return the part of these samples of values for the whole batch, (batch_size, ...)."""
        return values if self.part is None else self.part.of(values)

    @property
    def exceptions(self) -> list[Tensor]:
        """What a transform moves with the target, (B, K, *spatial) each, 0 where there is nothing.

        Ignored voxels are 1, and weights are what they lack to 1, so that outside of the sample,
        where a transform fills in 0, voxels count as others do.
        """
        ignore = [] if self.ignore is None else [self.ignore]
        return ignore if self.weight is None else [*ignore, 1 - self.weight]

    def with_exceptions(self, moved: Sequence[Tensor]) -> Batch:
        """Return the batch with new ignored voxels and weights after a transform that interpolates.

        `moved` are the `exceptions` after it. Where an ignored voxel contributes to a voxel, beyond
        rounding, the target is unknown.
        """
        waiting, batch = list(moved), self
        if self.ignore is not None:
            contributions = waiting.pop(0)
            ignore = (contributions > TOLERANCE).to(contributions.dtype)
            batch = replace(batch, ignore=ignore)
        if self.weight is not None:
            batch = replace(batch, weight=1 - waiting.pop(0).clamp(0, 1))
        return batch

    def map_tensors(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with a function applied to its tensors, such as a copy to the device.

        `spacing` stays on the CPU.
        """
        sources = tuple(source.map_tensors(function) for source in self.sources)
        fill, targets = function(self.fill), _mapped_targets(self, function)
        return replace(self, image=function(self.image), fill=fill, sources=sources, **targets)

    def select(self, rows: Tensor, near_rows: Tensor) -> Batch:
        """Return some of the samples, by their indices (N,) on the CPU and on the device."""
        spacing = None if self.spacing is None else self.spacing[rows]
        # several times as fast as `tensor[near_rows]` on a CPU
        chosen = replace(self, sources=()).map_tensors(lambda t: t.index_select(0, near_rows))
        sources = tuple(self.sources[row] for row in rows.tolist()) if self.sources else ()
        return replace(chosen, spacing=spacing, sources=sources)

    def row(self, row: int) -> Batch:
        """Return one of the samples, as a batch of views."""

        def one(values: Tensor) -> Tensor:
            return values[row : row + 1]

        return replace(
            self,
            image=one(self.image),
            fill=one(self.fill),
            spacing=None if self.spacing is None else one(self.spacing),
            sources=self.sources[row : row + 1],
            **_mapped_targets(self, one),
        )

    def of_part(self, part: BatchPart | None) -> Batch:
        """Return the part of a batch of all samples that a process computes."""
        if part is None:
            return self
        spacing = None if self.spacing is None else part.of(self.spacing)
        own = replace(self, sources=()).map_tensors(part.of)
        sources = self.sources[part.first : part.first + part.count]
        return replace(own, spacing=spacing, part=part, sources=sources)

    def with_samples(self, near_rows: Tensor, samples: Batch) -> Batch:
        """Replace some samples in place, by their indices (N,) on the device."""
        for old, new in self._pairs(samples):
            old.index_copy_(0, near_rows, new)
        return self

    def overwrite(self, samples: Batch) -> None:
        """Write samples over all of these, in place."""
        for old, new in self._pairs(samples):
            old.copy_(new)

    def _pairs(self, other: Batch) -> list[tuple[Tensor, Tensor]]:
        """Return the tensors that have spatial axes, each with that of another batch."""
        pairs: list[tuple[Tensor | None, Tensor | None]]
        pairs = [(self.image, other.image), (self.target, other.target)]
        pairs += [(own, other.maps[kind]) for kind, own in self.maps.items()]
        pairs += [(self.ignore, other.ignore), (self.weight, other.weight)]
        return [(one, two) for one, two in pairs if one is not None and two is not None]

    def map_grids(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with a function applied to all that has spatial axes."""
        return replace(self, image=function(self.image), **_mapped_targets(self, function))

    def map_targets(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with a function applied to all that has a channel for each target."""
        return replace(self, **_mapped_targets(self, function))


def _mapped_targets(
    owner: SourceVolume | Batch, function: Callable[[Tensor], Tensor]
) -> dict[str, Any]:
    """Return the fields that have a channel for each target, with a function applied to them."""
    return {
        "target": function(owner.target),
        "maps": {kind: function(tensor) for kind, tensor in owner.maps.items()},
        "ignore": None if owner.ignore is None else function(owner.ignore),
        "weight": None if owner.weight is None else function(owner.weight),
    }
