"""The batch of slices that training steps and augmentations work on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from softseg.core.ranks import BatchPart
from softseg.data.masks import TOLERANCE


@dataclass(frozen=True)
class Batch:
    """The slices of one batch that this process computes: on the device, but for `aspect`."""

    image: Tensor  # (B, C, H, W) float32
    target: Tensor  # (B, K, H, W) float32 in [0, 1]
    fill: Tensor  # (B, C): the standardized background, which is outside of the image
    maps: Mapping[str, Tensor] = field(default_factory=dict)  # kind -> (B, K, H, W), for the loss
    ignore: Tensor | None = None  # (B, K, H, W), 1 where the target is unknown; None: nowhere
    part: BatchPart | None = None  # which slices of the batch these are; None: all
    aspect: Tensor | None = None  # (B,), on the CPU: height / width of pixels in mm; None: square
    weight: Tensor | None = None  # (B, K, H, W) in [0, 1], of the loss; None: 1 everywhere

    @property
    def batch_size(self) -> int:
        """Number of slices over all processes."""
        return len(self.image) if self.part is None else self.part.batch_size

    @property
    def share_weight(self) -> float:
        """Weight of this process's mean loss in the mean over processes."""
        return 1.0 if self.part is None else self.part.weight

    def own_share(self, values: Tensor) -> Tensor:
        """Return these slices' part of values for the batch of all processes, (batch_size, ...)."""
        return values if self.part is None else self.part.of(values)

    @property
    def exceptions(self) -> list[Tensor]:
        """What a transform moves with the target, (B, K, H, W) each, 0 where there is nothing.

        Ignored voxels are 1, and weights are what they lack to 1, so that outside of the slice,
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

        `aspect` stays on the CPU.
        """
        return replace(
            self,
            image=function(self.image),
            target=function(self.target),
            fill=function(self.fill),
            maps={kind: function(tensor) for kind, tensor in self.maps.items()},
            ignore=None if self.ignore is None else function(self.ignore),
            weight=None if self.weight is None else function(self.weight),
        )
