from __future__ import annotations

import numpy as np
from nibabel.affines import apply_affine
from nibabel.eulerangles import euler2mat

from softseg.data.nifti.grid import Grid, regrid


def turned(angle: float, zooms: tuple[float, float, float], shape: tuple[int, int, int]) -> Grid:
    """A grid around the origin."""
    affine = np.eye(4)
    affine[:3, :3] = euler2mat(angle, angle / 2, -angle) @ np.diag(zooms)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def where(grid: Grid) -> np.ndarray:
    """World position of every voxel, (X, Y, Z, 3)."""
    return apply_affine(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1))


def test_a_linear_field_is_resampled_exactly_onto_a_rotated_grid() -> None:
    source, target = turned(0.2, (1, 2, 1.5), (30, 20, 24)), turned(-0.1, (0.7, 1, 3), (9, 8, 4))
    field = where(source) @ [1.0, -2.0, 0.5] + 400
    read = regrid(field, source, target)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, where(target) @ [1.0, -2.0, 0.5] + 400, rtol=1e-5)


def test_outside_the_scan_is_0() -> None:
    source, target = turned(0.0, (1, 1, 1), (4, 4, 4)), turned(0.0, (1, 1, 1), (12, 4, 4))
    read = regrid(np.arange(1.0, 65.0).reshape(4, 4, 4), source, target)
    assert (read[:3] == 0).all()
    assert (read[-3:] == 0).all()
    np.testing.assert_array_equal(read[4:8], np.arange(1.0, 65.0).reshape(4, 4, 4))


def test_a_mask_cropped_to_its_box_is_0_outside_the_box() -> None:
    source, target = turned(0.0, (1, 1, 1), (4, 4, 4)), turned(0.0, (1, 1, 1), (12, 4, 4))
    read = regrid(np.ones(source.shape), source, target)
    assert (read[4:8] == 1).all()
    assert (read[:3] == 0).all()
    assert (read[-3:] == 0).all()
