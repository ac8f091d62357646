"""The batch of slices that training steps and augmentations work on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from softseg.core.ranks import BatchPart


@dataclass(frozen=True)
class Batch:
    """The slices of one batch that this process computes, on the device."""

    image: Tensor  # (B, C, H, W) float32
    target: Tensor  # (B, K, H, W) float32 in [0, 1]
    fill: Tensor  # (B, C): the standardized background, which is outside of the image
    maps: Mapping[str, Tensor] = field(default_factory=dict)  # kind -> (B, K, H, W), for the loss
    part: BatchPart | None = None  # which slices of the batch these are; None: all

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

    def map_tensors(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with a function applied to every tensor, such as a copy to a device."""
        return replace(
            self,
            image=function(self.image),
            target=function(self.target),
            fill=function(self.fill),
            maps={kind: function(tensor) for kind, tensor in self.maps.items()},
        )
