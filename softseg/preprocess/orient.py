"""The closest canonical orientation (RAS+): the one every later step speaks in."""

from __future__ import annotations

from nibabel import orientations

from softseg.data.grid import Grid


def canonical(grid: Grid) -> Grid:
    """The same voxels with axes running right, anterior, superior (as near as the scan allows)."""
    to_ras = orientations.io_orientation(grid.affine)
    affine = grid.affine @ orientations.inv_ornt_aff(to_ras, grid.shape)
    first, second, third = (int(axis) for axis in to_ras[:, 0].argsort())
    return Grid((grid.shape[first], grid.shape[second], grid.shape[third]), affine)
