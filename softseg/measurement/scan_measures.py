"""What is measured in one segmented scan: volumes, areas of slices, and lesions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from softseg.core.types import AnyArray, Float64Array
from softseg.data.nifti.grid import Grid, canonical
from softseg.measurement.segmentations import SegmentedScan
from softseg.metrics.calibration import MARGIN_MM
from softseg.metrics.lesions import Connectivity, components, lesion_territories
from softseg.metrics.overlap import volume_ml
from softseg.preprocess.geometry import Geometry

Row = dict[str, Any]
CONNECTIVITY: Connectivity = 18
"""Of the voxels of a lesion: a common face or edge, as in the metrics of lesions."""
REACH_MM = MARGIN_MM
"""Soft values so far from the mask, in mm, still belong to the nearest lesion."""


@dataclass(frozen=True)
class ScanMeasures:
    """The measures of one target of one scan; the keys of the rows are columns of tables."""

    scan: Row
    slices: list[Row]
    lesions: list[Row]


def measure_scan(segmented: SegmentedScan, axis: int) -> ScanMeasures:
    """Measure a scan; slices are along an axis of the canonical orientation: 0, 1 or 2."""
    lesions, outside = measure_lesions(segmented)
    grid = segmented.grid
    scan = {
        "soft_ml": volume_ml(segmented.soft, grid.voxel_ml),
        "binary_ml": volume_ml(segmented.mask, grid.voxel_ml),
        "lesions": len(lesions),
        "outside_ml": outside,
    }
    positions = slice_positions(grid, axis)
    soft, binary = (slice_areas(array, grid, axis) for array in (segmented.soft, segmented.mask))
    columns = {"position_mm": positions, "soft_mm2": soft, "binary_mm2": binary}
    slices = [
        {"slice": index, **{name: float(values[index]) for name, values in columns.items()}}
        for index in range(len(positions))
    ]
    return ScanMeasures(scan, slices, lesions)


def slice_areas(values: AnyArray, grid: Grid, axis: int) -> Float64Array:
    """Return the area in mm² of a mask, soft or binary (X, Y, Z), in each slice along an axis.

    A slice is a plane of voxels of the file, and the area is measured in that plane, also where it
    is oblique to the scanner; times the distance of the planes, the areas sum to the volume.
    `axis` is that of the canonical orientation. The slices are in the order of the file.
    """
    native = _native_axis(grid, axis)
    first, second = (grid.affine[:3, other] for other in range(3) if other != native)
    pixel_mm2 = float(np.linalg.norm(np.cross(first, second)))
    in_plane = tuple(other for other in range(3) if other != native)
    return np.asarray(values.sum(axis=in_plane, dtype=np.float64) * pixel_mm2)


def slice_positions(grid: Grid, axis: int) -> Float64Array:
    """Return the coordinate in mm along an axis of the scanner (RAS+) of each slice's center."""
    native = _native_axis(grid, axis)
    center = (np.array(grid.shape, dtype=np.float64) - 1) / 2
    centers = np.tile(center, (grid.shape[native], 1))
    centers[:, native] = np.arange(grid.shape[native])
    return np.asarray(centers @ grid.affine[axis, :3] + grid.affine[axis, 3])


def _native_axis(grid: Grid, axis: int) -> int:
    """Return the axis of the file that is closest to an axis of the canonical orientation."""
    return Geometry(grid, canonical(grid)).native_axis(axis)


def measure_lesions(segmented: SegmentedScan) -> tuple[list[Row], float]:
    """Return a row per lesion, the largest first, and the soft volume in ml outside of them all.

    A lesion is a connected component of the mask (`CONNECTIVITY`). Its soft volume is the sum of
    the soft values of its territory: the voxels that are nearer to it than to another lesion, and
    at most `REACH_MM` from it.
    """
    soft, grid = segmented.soft, segmented.grid
    lesions = components(segmented.mask, CONNECTIVITY)
    territories = lesion_territories(lesions, grid.zooms.tolist(), REACH_MM).ravel()
    count = lesions.sizes.size + 1
    sums = np.bincount(territories, weights=soft.ravel(), minlength=count)
    rows = []
    order = np.argsort(-lesions.sizes, kind="stable") + 1
    centers = _centers(lesions.labels, count) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    for number, label in enumerate(order.tolist(), start=1):
        x, y, z = centers[label].tolist()
        row = {"lesion": number, "x_mm": x, "y_mm": y, "z_mm": z}
        row["soft_ml"] = float(sums[label]) * grid.voxel_ml
        row["binary_ml"] = float(lesions.sizes[label - 1]) * grid.voxel_ml
        rows.append(row)
    return rows, float(sums[0]) * grid.voxel_ml


def _centers(labels: AnyArray, count: int) -> Float64Array:
    """Return the mean voxel index (count, 3) of the voxels of each label; NaN if it has none."""
    at = np.nonzero(labels)
    own = labels[at]
    sizes = np.bincount(own, minlength=count)
    sums = [np.bincount(own, weights=index, minlength=count) for index in at]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.stack(sums, axis=1) / sizes[:, None])
