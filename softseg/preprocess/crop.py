"""The step that cuts or pads every volume to one in-plane size."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from softseg.core.component import Component
from softseg.core.types import FloatArray
from softseg.data.nifti.grid import Grid

Size = Annotated[int, Field(ge=1, le=16384)]


class Crop(Component):
    """Cut (or pad) each slice to one size, so that slices of all subjects can share a batch.

    One box a volume: every slice is cut at the same place.
    """

    name: Literal["crop"] = "crop"
    size: tuple[Size, Size]
    """Pixels along the two in-plane axes in the order right-left, posterior-anterior,
    inferior-superior (axial slices: right-left x posterior-anterior)."""
    around: Literal["image", "roi"] = "image"
    """Center of the box: the center of the field of view, or the center of mass of the ROI mask
    (`dataset.roi`); a model trained around an ROI needs one to predict."""

    def __call__(self, grid: Grid, in_plane: tuple[int, int], center: FloatArray | None) -> Grid:
        """The grid after this step; `center` is the ROI's center of mass in world mm, (3,)."""
        start = np.zeros(3, dtype=int)
        shape = list(grid.shape)
        for axis, size in zip(in_plane, self.size, strict=True):
            start[axis] = self._start(grid, axis, size, center)
            shape[axis] = size
        move = np.eye(4)
        move[:3, 3] = start
        return Grid((shape[0], shape[1], shape[2]), grid.affine @ move)

    def _start(self, grid: Grid, axis: int, size: int, center: FloatArray | None) -> int:
        if self.around == "image" or center is None:
            return (grid.shape[axis] - size) // 2
        index = np.linalg.solve(grid.affine, np.append(center, 1.0))
        # halves are rounded alike whatever noise the affine's inverse leaves
        return int(np.rint(np.round(index[axis] - (size - 1) / 2, 4)))
