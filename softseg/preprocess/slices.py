"""Slices: along which axis a volume is cut, which slices are left out, and the inverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from softseg.core.names import listing
from softseg.core.types import Float32Array
from softseg.data.nifti.grid import Grid
from softseg.preprocess.samples import Rule, Samples

_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


class Slices(Samples):
    """How volumes become 2D slices; for a 3D network, `axis` is the main plane of figures."""

    axes: ClassVar[int] = 2

    axis: Literal["axial", "coronal", "sagittal"] = "axial"
    """The plane of the slices, in the canonical orientation."""
    exclude: tuple[Rule, ...] = ("empty_input",)
    """Slices left out of training and validation (every slice is predicted), in addition to those
    in which every voxel of every target is ignored (`targets.X.ignore`). `empty_input`: a
    contrast is constant; `empty_target`: no foreground; `no_roi`: no voxel of the ROI mask."""

    neighbors: Annotated[int, Field(ge=0, le=64)] = 0
    """Number of slices before and after each slice that the network sees as further input channels
    (2.5D), so that it segments a slice with its surroundings: 1 gives it three times the channels.
    They come one slice after the other along `axis`, each with all contrasts; beyond the first and
    the last slice of the (preprocessed) volume, that one is repeated. Slices that `exclude` leaves
    out are still neighbors of others. 0, the paper's: each slice on its own."""

    @property
    def neighbor_count(self) -> int:
        """The key `neighbors`."""
        return self.neighbors

    @property
    def axis_index(self) -> int:
        """The volume axis along which slices are cut: 0, 1 or 2."""
        return _AXES[self.axis]

    @property
    def excluded(self) -> tuple[Rule, ...]:
        """The rules of `exclude`."""
        return self.exclude

    def with_all(self) -> Self:
        """Return the same without rules."""
        return self.model_copy(update={"exclude": ()})

    @property
    def recipe(self) -> Any:
        """The section without `neighbors`, which are gathered from the slices of a volume."""
        return self.model_dump(mode="json", exclude={"neighbors"})

    @property
    def crop_plane(self) -> tuple[int, int]:
        """The plane of the slices."""
        return self.in_plane

    @property
    def in_plane(self) -> tuple[int, int]:
        """The two other volume axes, in order: the H and W of a slice."""
        first, second = (axis for axis in range(3) if axis != self.axis_index)
        return first, second

    def plane_of_flat(self, shape: tuple[int, int, int]) -> str | None:
        """Return the plane in which a 2D image is whole, if slices along this axis are lines.

        `shape` is that of a volume in the canonical orientation. None if slices are wider than a
        pixel.
        """
        single = [plane for plane, axis in _AXES.items() if shape[axis] == 1]
        return single[0] if single and self.axis not in single else None

    def flat_message(self, subjects: Sequence[str], plane: str) -> str:
        """Return that slices of these subjects are lines, and in which plane they are whole."""
        return (
            f"{self.axis} slices of {listing(subjects)} are 1 pixel wide, and {plane} ones are "
            "whole images"
        )

    def spacing(self, grid: Grid) -> tuple[float, float]:
        """Return height and width of a slice's pixels in mm; equal if they are nearly square."""
        height, width = super().spacing(grid)
        return height, width

    def cut(self, volumes: Float32Array) -> Tensor:
        """Cut volumes (C, X, Y, Z) into slices (S, C, H, W)."""
        slices = np.moveaxis(volumes, self.axis_index + 1, 0)
        return torch.from_numpy(np.ascontiguousarray(slices))

    def with_neighbors(self, image: Tensor, grid: Grid) -> Tensor:
        """Return slices (S, C, H, W) with their neighbors, (S, (2 N + 1) C, H, W).

        Of one volume it is a view of the slices and N copies of the first and the last one.
        """
        if not self.neighbors:
            return image
        volumes = image.unflatten(0, (-1, grid.shape[self.axis_index]))
        before = volumes[:, :1].expand(-1, self.neighbors, -1, -1, -1)
        after = volumes[:, -1:].expand(-1, self.neighbors, -1, -1, -1)
        extended = torch.cat([before, volumes, after], dim=1)
        windows = extended.unfold(1, 2 * self.neighbors + 1, 1).movedim(-1, 2)
        return windows.flatten(0, 1).flatten(1, 2)

    def stack(self, samples: Tensor) -> Float32Array:
        """Stack slices (S, C, H, W) to volumes (C, X, Y, Z): the inverse of `cut`."""
        return np.ascontiguousarray(np.moveaxis(samples.cpu().numpy(), 0, self.axis_index + 1))
