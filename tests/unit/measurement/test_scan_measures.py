from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from softseg.data.nifti.grid import Grid
from softseg.measurement.scan_measures import (
    measure_lesions,
    measure_scan,
    slice_areas,
    slice_positions,
)
from softseg.measurement.segmentations import SegmentedScan
from tests.support import makers

SHAPE = (12, 10, 6)


def segmented(soft=None, affine=None):
    soft = makers.ball(SHAPE) if soft is None else soft.astype(np.float32)
    return SegmentedScan(
        soft, soft >= 0.5, Grid(soft.shape, np.eye(4) if affine is None else affine)
    )


SKEWED = makers.oblique() @ np.array([[1, 0.2, 0, 0], [0, 1, 0.1, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("affine", [np.eye(4), makers.oblique(), makers.oblique(lps=True), SKEWED])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_areas_times_the_distance_of_slices_sum_to_the_volume(affine, axis):
    scan = segmented(affine=affine)
    areas = slice_areas(scan.soft, scan.grid, axis)
    normal = np.cross(*(affine[:3, k] for k in range(3) if k != axis))
    spacing = abs(affine[:3, axis] @ normal) / np.linalg.norm(normal)
    assert areas.sum() * spacing / 1000 == pytest.approx(scan.soft.sum() * scan.grid.voxel_ml)


def test_the_area_of_an_oblique_slice_is_that_in_its_plane():
    soft = np.zeros(SHAPE)
    soft[2:5, 3:7, 2] = 1
    areas = slice_areas(soft, Grid(SHAPE, makers.oblique((0.5, 0.8, 3))), 2)
    assert areas == pytest.approx([0, 0, 12 * 0.4, 0, 0, 0])


@pytest.mark.parametrize("code", ["RAS", "LPI", "PIR", "ASL"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_areas_and_positions_are_those_of_the_patient_in_any_orientation(code, axis):
    image = nib.Nifti1Image(makers.ball(SHAPE) * np.arange(6) / 5, makers.oblique())
    original = nib.orientations.io_orientation(image.affine)
    wanted = nib.orientations.axcodes2ornt(code)
    turned = image.as_reoriented(nib.orientations.ornt_transform(original, wanted))

    def areas(nifti):
        grid = Grid(nifti.shape, nifti.affine)
        pairs = zip(
            slice_positions(grid, axis), slice_areas(nifti.get_fdata(), grid, axis), strict=True
        )
        return np.array(sorted(pairs))

    assert areas(turned) == pytest.approx(areas(image), abs=1e-6)


def test_positions_are_those_of_the_centers():
    affine = np.diag([1.0, 2, 3, 1])
    affine[:3, 3] = (5, 6, 7)
    assert slice_positions(Grid((4, 4, 3), affine), 2) == pytest.approx([7, 10, 13])
    affine[:3, 2] = (0, 0, -3)
    assert slice_positions(Grid((4, 4, 3), affine), 2) == pytest.approx([7, 4, 1])


def test_volumes():
    soft = np.zeros(SHAPE)
    soft[2, 2, 2], soft[3, 2, 2], soft[4, 2, 2] = 1, 0.6, 0.3
    row = measure_scan(segmented(soft, np.diag([1, 1, 5, 1])), 2).scan
    assert row["soft_ml"] == pytest.approx(1.9 * 0.005)
    assert row["binary_ml"] == pytest.approx(2 * 0.005)
    assert row["lesions"] == 1
    assert row["outside_ml"] == 0


def two_lesions():
    """A small lesion in front of a large one, soft voxels between them, and one far away."""
    soft = np.zeros((30, 8, 8))
    soft[2, 4, 4] = 1
    soft[8:10, 4, 4] = 0.9
    soft[4, 4, 4] = 0.2  # 2 voxels from the first, 4 from the second
    soft[7, 4, 4] = 0.3
    soft[25, 4, 4] = 0.4
    return soft


def test_soft_voxels_belong_to_the_nearest_lesion_within_reach():
    rows, outside = measure_lesions(segmented(two_lesions()))
    assert [row["lesion"] for row in rows] == [1, 2]  # the largest first
    assert [row["binary_ml"] for row in rows] == pytest.approx([0.002, 0.001])
    assert [row["soft_ml"] for row in rows] == pytest.approx([0.0021, 0.0012])
    assert outside == pytest.approx(0.0004)  # 16 mm from a lesion
    assert [row["x_mm"] for row in rows] == pytest.approx([8.5, 2])


def test_the_nearest_is_so_in_mm_rather_than_voxels():
    soft = np.zeros((12, 12, 9))
    soft[4, 2, 4] = soft[3, 4, 4] = 1  # 2 mm and 3 mm from the next, 2 voxels and 1
    soft[4, 4, 4] = 0.2
    rows, outside = measure_lesions(segmented(soft, np.diag([3, 1, 1, 1])))
    assert outside == 0
    assert {row["y_mm"]: row["soft_ml"] for row in rows} == pytest.approx({2: 0.0036, 4: 0.003})


@pytest.mark.parametrize(("offset", "within"), [((3, 4), True), ((4, 4), False), ((0, 5), True)])
def test_the_reach_is_5_mm_in_any_direction(offset, within):
    soft = np.zeros((14, 14, 3))
    soft[4, 4, 1], soft[4 + offset[0], 4 + offset[1], 1] = 1, 0.2
    [row], outside = measure_lesions(segmented(soft))
    assert row["soft_ml"] == pytest.approx(0.0012 if within else 0.001)
    assert outside == pytest.approx(0 if within else 0.0002, abs=1e-9)


def test_the_parts_sum_to_the_soft_volume():
    soft = np.random.default_rng(0).random((20, 16, 12)) ** 4
    scan = segmented(soft, makers.oblique())
    rows, outside = measure_lesions(scan)
    assert len(rows) > 20
    total = sum(row["soft_ml"] for row in rows) + outside
    assert total == pytest.approx(scan.soft.sum(dtype=float) * scan.grid.voxel_ml)
    sizes = [row["binary_ml"] for row in rows]
    assert sizes == sorted(sizes, reverse=True)


def test_an_empty_mask_has_no_lesions():
    measures = measure_scan(segmented(0.1 * makers.ball(SHAPE)), 0)
    assert measures.lesions == []
    assert measures.scan["outside_ml"] == pytest.approx(measures.scan["soft_ml"])
    assert measures.scan["binary_ml"] == 0
    assert [row["slice"] for row in measures.slices] == list(range(12))


def test_a_2d_image():
    measures = measure_scan(segmented(makers.ball((12, 10, 4))[..., 1:2]), 2)
    assert len(measures.slices) == 1
    assert measures.scan["soft_ml"] > 0
