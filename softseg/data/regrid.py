"""A volume read on the grid of another scan of the same subject, rotated against it or not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from softseg.data.grid import FloatArray, Grid


def regrid(
    data: FloatArray, source: Grid, target: Grid, *, mask: bool = False
) -> NDArray[np.float32]:
    """`data` (X, Y, Z), which lies on `source`, at the voxel centres of `target`, linearly.

    The outermost voxels go on for one more voxel: centres of two grids that touch there may miss
    one another by rounding. Beyond that a mask is 0, which it may be nowhere in a file that is cut
    to a box, and an image 0 or the end of its own range nearest to 0.
    """
    outside = 0.0 if mask else float(np.clip(0.0, data.min(), data.max()))
    back = np.linalg.solve(source.affine, target.affine)
    back[:3, 3] += 1  # for the voxel that is put around
    around = np.pad(np.asarray(data, np.float32), 1, mode="edge")
    read = ndimage.affine_transform(around, back, output_shape=target.shape, order=1, cval=outside)
    return np.asarray(read, dtype=np.float32)
