"""Patches: the blocks of voxels that a 3D network is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from softseg.core.types import Float32Array
from softseg.preprocess.samples import Rule, Samples

LARGEST = 128
"""Voxels along an axis of a patch that `size: null` chooses, at most."""
Voxels = Annotated[int, Field(ge=1, le=1024)]


class Patches(Samples):
    """How a 3D network sees volumes: whole in preprocessing, as patches in training.

    Each patch is cut at a random place of its volume. A volume that is smaller than a patch is
    padded with its background on both sides.

    Example: `patches: {size: [64, 64, 32], per_volume: 2}`
    """

    axes: ClassVar[int] = 3

    size: tuple[Voxels, Voxels, Voxels] | None = None
    """Voxels of a patch along right-left, posterior-anterior, inferior-superior. null: the smallest
    size that holds every preprocessed training volume, rounded up to what the network can halve,
    at most 128 along an axis; the choice is written to the run's config.yaml."""
    per_volume: Annotated[int, Field(ge=1, le=4096)] = 1
    """Number of patches of each training volume in an epoch. 1 suffices where a patch holds the
    whole volume; for larger volumes, more patches lengthen an epoch, after which the network is
    validated."""

    _plane: tuple[int, int] = PrivateAttr((0, 1))

    def with_plane(self, plane: tuple[int, int]) -> Self:
        """Return the same with the volume axes that a `crop` with two values crops."""
        changed = self.model_copy()
        changed._plane = plane
        return changed

    @property
    def excluded(self) -> tuple[Rule, ...]:
        """Volumes in which a contrast is constant."""
        return ("empty_input",)

    def with_all(self) -> Self:
        """Return the same: a scan is one sample."""
        return self

    @property
    def in_plane(self) -> tuple[int, ...]:
        """All three volume axes."""
        return 0, 1, 2

    @property
    def crop_plane(self) -> tuple[int, int]:
        """The plane of the section `slices`."""
        return self._plane

    @property
    def recipe(self) -> Any:
        """A preprocessed volume does not depend on the size of the patches that are cut from it."""
        return {"axes": 3, "plane": list(self._plane)}

    def cut(self, volumes: Float32Array) -> Tensor:
        """Return the volumes (C, X, Y, Z) as one sample (1, C, X, Y, Z)."""
        return torch.from_numpy(np.ascontiguousarray(volumes))[None]

    def stack(self, samples: Tensor) -> Float32Array:
        """Return the volumes (C, X, Y, Z) of one sample (1, C, X, Y, Z)."""
        return np.ascontiguousarray(samples[0].cpu().numpy())


def smallest_size(
    shapes: Sequence[Sequence[int]], divisor: Sequence[int], largest: int = LARGEST
) -> tuple[int, int, int]:
    """Return the smallest size of patches that holds volumes of these shapes (X, Y, Z).

    Each side is a multiple of the `divisor` of its axis, and at most `largest`, unless the divisor
    is larger.
    """
    x, y, z = (
        max(factor, min(-(-max(sides) // factor), largest // factor) * factor)
        for sides, factor in zip(zip(*shapes, strict=True), divisor, strict=True)
    )
    return x, y, z
