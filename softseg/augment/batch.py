"""What augmentation works on: the named slots of one batch, transformed by the same parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Slices on the device.

    image (B, C, H, W) float32; target (B, K, H, W) float32 in [0, 1]; fill (B, C), the
    standardised background that stands outside the image; maps, of each kind that the loss needs
    (B, K, H, W).
    """

    image: Tensor
    target: Tensor
    fill: Tensor
    maps: Mapping[str, Tensor] = field(default_factory=dict)

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The same with a function of every tensor in its place, such as a copy elsewhere."""
        maps = {kind: function(one) for kind, one in self.maps.items()}
        return Batch(function(self.image), function(self.target), function(self.fill), maps)
