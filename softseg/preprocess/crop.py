"""The step that crops or pads every volume to one in-plane size."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from softseg.core.component import Component
from softseg.core.types import FloatArray
from softseg.data.nifti.grid import Grid

Size = Annotated[int, Field(ge=1, le=16384)]


class Crop(Component):
    """Crop (or pad) each slice to one size, so that slices of all subjects can share a batch.

    All slices of a volume are cropped to the same box.
    """

    name: Literal["crop"] = "crop"
    size: tuple[Size, Size]
    """Pixels along the two in-plane axes in the order right-left, posterior-anterior,
    inferior-superior (axial slices: right-left x posterior-anterior)."""
    around: Literal["image", "roi"] = "image"
    """Center of the box: the center of the field of view, or the center of mass of the ROI mask
    (`dataset.roi`); a model trained around an ROI needs one to predict."""

    def __call__(self, grid: Grid, in_plane: tuple[int, int], center: FloatArray | None) -> Grid:
        """Return the grid after this step; `center` is the ROI's center in world mm, (3,)."""
        shape, start = list(grid.shape), np.zeros(3, dtype=int)
        for axis, size in zip(in_plane, self.size, strict=True):
            shape[axis] = size
            if self.around == "image" or center is None:
                start[axis] = (grid.shape[axis] - size) // 2
            else:
                index = np.linalg.solve(grid.affine, np.append(center, 1.0))
                # rounded first, so that noise of the inverse affine does not decide about halves
                start[axis] = int(np.rint(np.round(index[axis] - (size - 1) / 2, 4)))
        shift = np.eye(4)
        shift[:3, 3] = start
        return Grid((shape[0], shape[1], shape[2]), grid.affine @ shift)
