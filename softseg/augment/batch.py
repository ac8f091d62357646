"""What augmentation works on: the named slots of one batch, transformed by the same parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from softseg.core.ranks import BatchShare


@dataclass(frozen=True)
class Batch:
    """Slices on the device.

    image (B, C, H, W) float32; target (B, K, H, W) float32 in [0, 1]; fill (B, C), the
    standardized background that stands outside the image; maps, of each kind that the loss needs
    (B, K, H, W); part, which slices of the batch these are where several processes share it.
    """

    image: Tensor
    target: Tensor
    fill: Tensor
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    part: BatchShare | None = None

    @property
    def whole(self) -> int:
        """Slices of the whole batch: as many as there are parameters to draw for."""
        return len(self.image) if self.part is None else self.part.batch_size

    @property
    def weight(self) -> float:
        """Of its mean loss in the mean over processes."""
        return 1.0 if self.part is None else self.part.weight

    def own(self, drawn: Tensor) -> Tensor:
        """Of what was drawn for the whole batch, (whole, ...), that of these slices."""
        return drawn if self.part is None else self.part.of(drawn)

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The same with a function of every tensor in its place, such as a copy elsewhere."""
        maps = {kind: function(one) for kind, one in self.maps.items()}
        image, target, fill = (function(one) for one in (self.image, self.target, self.fill))
        return replace(self, image=image, target=target, fill=fill, maps=maps)
