"""Maps that contour losses multiply predictions with, made once for each slice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from softseg.core.errors import UserError
from softseg.core.types import BoolArray, Float64Array, FloatArray
from softseg.data.nifti.grid import Grid
from softseg.metrics import TRUTH_THRESHOLD, binarize
from softseg.preprocess.crop import Crop
from softseg.preprocess.distance_maps import contour_map
from softseg.preprocess.geometry import Geometry, Step, plan
from softseg.preprocess.interpolation import resample
from softseg.preprocess.resample import label_order
from softseg.preprocess.slices import Slices


def contours(
    target: FloatArray,
    steps: Sequence[Step],
    slices: Slices,
    geometry: Geometry,
    kinds: Sequence[str],
) -> list[Tensor]:
    """A map of each kind for every slice, each (S, K, H, W), of the native masks (K, X, Y, Z).

    Measured on whole slices: a crop that cuts through a structure, or past it, changes nothing.
    Beyond the scan a map goes on with the value at its edge. Lengths are in mm. Raises UserError
    for a chain that crops before it resamples.
    """
    if not kinds:
        return []
    whole = plan(geometry.native, [s for s in steps if not isinstance(s, Crop)], slices, None)
    order = label_order(steps)
    read = [resample(mask, whole.native, whole.network, order) for mask in target]
    drawn = slices.cut(np.stack(read)).numpy()
    zooms = whole.network.zooms[list(slices.in_plane)]
    shown = _view(whole.network, geometry.network, slices)
    return [_of_kind(binarize(drawn, TRUTH_THRESHOLD), kind, zooms, shown) for kind in kinds]


def _view(whole: Grid, network: Grid, slices: Slices) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Which row and column of a whole slice each pixel of the network's slice is, or is nearest."""
    offset = np.linalg.solve(whole.affine, network.affine)[:3, 3]
    start = np.rint(offset).astype(int)
    if np.abs(offset - start).max() > 1e-3:  # voxels
        raise UserError("a contour loss needs the step `crop` after `resample`, not before it")
    rows, columns = (
        np.clip(start[axis] + np.arange(network.shape[axis]), 0, whole.shape[axis] - 1)
        for axis in slices.in_plane
    )
    return rows, columns


def _of_kind(
    drawn: BoolArray,
    kind: str,
    zooms: Float64Array,
    shown: tuple[NDArray[np.int_], NDArray[np.int_]],
) -> Tensor:
    """Masks (S, K, H0, W0) of whole slices -> their maps where they are shown, (S, K, H, W)."""
    spacing = (float(zooms[0]), float(zooms[1]))
    view = np.ix_(*shown)
    maps = [[contour_map(mask, spacing, kind)[view] for mask in masks] for masks in drawn]
    return torch.from_numpy(np.array(maps, dtype=np.float32))
