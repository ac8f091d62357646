"""Probabilities that nnU-Net saves (`--save_probabilities`): <case>.npz, with a <case>.pkl."""

from __future__ import annotations

import pickle
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from softseg.core.errors import UserError
from softseg.core.types import Float32Array, Float64Array
from softseg.data.nifti.grid import Grid
from softseg.data.nifti.io import read_grid
from softseg.scoring.channels import Channels, sum_to_one

_ARRAYS = ("probabilities", "softmax")  # of nnU-Net 2 and 1
_BOXES = ("bbox_used_for_cropping", "crop_bbox")
_SHAPES = ("shape_before_cropping", "original_size_of_raw_data")
_GEOMETRY = ("spacing", "origin", "direction")
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # from the world of ITK to that of NIfTI
_HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("collections", "OrderedDict"),
}


def read_probabilities(path: Path) -> Channels:
    """Read an .npz file: axes in the order of NIfTI, put back where nnU-Net 1 has cropped the scan.

    The voxels are those of the label map next to it, or of the geometry in the .pkl file, of which
    nothing is executed. Raises UserError for a file that is damaged or of something else.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            key = next(name for name in _ARRAYS if name in arrays)
            stored = np.asarray(arrays[key], dtype=np.float32)
    except StopIteration:
        raise UserError(f"{path}: holds no array {' or '.join(_ARRAYS)} of nnU-Net") from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: is damaged ({error}); predict again") from error
    if stored.ndim != 4:
        raise UserError(f"{path}: has the shape {stored.shape}, not (channels, z, y, x)")
    properties = _read_properties(path.with_suffix(".pkl"))
    channels = np.transpose(_uncropped(stored, properties), (0, 3, 2, 1))
    return Channels(channels, _grid_of(path, channels.shape[1:], properties))


class _Harmless(pickle.Unpickler):
    """Reads numbers, texts, containers and arrays of NumPy, and executes nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class of those that execute nothing."""
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


def _read_properties(path: Path) -> Mapping[str, Any]:
    """Return what nnU-Net knew of the scan; empty without a file.

    Raises UserError for a file that is damaged or holds anything that is executed.
    """
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as stream:
            content = _Harmless(stream).load()
    except (pickle.UnpicklingError, EOFError, ValueError, LookupError, AttributeError) as error:
        raise UserError(
            f"{path}: is not a file of nnU-Net ({error}); delete it, if the label map is next to it"
        ) from error
    return content if isinstance(content, dict) else {}


def _uncropped(stored: Float32Array, properties: Mapping[str, Any]) -> Float32Array:
    """Return the channels (C, z, y, x) of the whole scan; outside of a crop is background.

    The first channel is the background, unless the channels are those of regions.
    """
    box = next((properties[key] for key in _BOXES if key in properties), None)
    shape = next((properties[key] for key in _SHAPES if key in properties), None)
    if box is None or shape is None:
        return stored
    sides = [int(high) - int(low) for low, high in box]
    whole = tuple(int(side) for side in shape)
    if stored.shape[1:] == whole or list(stored.shape[1:]) != sides:
        return stored
    full = np.zeros((len(stored), *whole), np.float32)
    full[0] = bool(sum_to_one(stored))
    full[(slice(None), *(slice(int(low), int(high)) for low, high in box))] = stored
    return full


def _grid_of(path: Path, shape: Sequence[int], properties: Mapping[str, Any]) -> Grid | None:
    """Return the grid of the label map next to the probabilities, or of the .pkl file."""
    for ending in (".nii.gz", ".nii"):
        labels = path.with_suffix(ending)
        if labels.is_file() and (grid := read_grid(labels)).shape == tuple(shape):
            return grid
    geometry = properties.get("sitk_stuff")
    if geometry is None and all(f"itk_{key}" in properties for key in _GEOMETRY):
        geometry = {key: properties[f"itk_{key}"] for key in _GEOMETRY}
    if not isinstance(geometry, dict) or len(geometry.get("spacing", ())) != 3:
        return None
    return Grid((shape[0], shape[1], shape[2]), _affine_of(geometry))


def _affine_of(geometry: Mapping[str, Any]) -> Float64Array:
    """Return the affine (4, 4) to the RAS+ world from the geometry of SimpleITK."""
    spacing, origin, direction = (np.asarray(geometry[key], np.float64) for key in _GEOMETRY)
    affine = np.eye(4)
    affine[:3, :3] = direction.reshape(3, 3) * spacing
    affine[:3, 3] = origin
    return np.asarray(_LPS @ affine)
