"""What a header and its voxels must satisfy for a file to be one volume that lies somewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softseg.data.bad_file import FileError
from softseg.data.grid import Grid


def grid_of(path: Path, header: Any) -> Grid:
    """Where the voxels lie, after checking that it is one volume and lies somewhere."""
    shape = tuple(int(n) for n in header.get_data_shape())
    if not shape or min(shape) < 1:
        raise FileError(path, f"has the shape {shape}", "every dimension must be at least 1")
    volumes = int(np.prod(shape[3:], dtype=object))
    if volumes > 1:
        raise FileError(path, f"holds {volumes} volumes {shape}", "pick one and save it alone")
    kind = header.get_data_dtype()
    if kind.kind not in "iufb":
        raise FileError(path, f"holds {_kind(kind)} voxels", "save one real number per voxel")
    x, y, z = (*shape[:3], 1, 1)[:3]
    affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    _check_affine(path, affine)
    return Grid((x, y, z), affine)


def _kind(dtype: np.dtype[Any]) -> str:
    return "complex" if dtype.kind == "c" else "colour (RGB)"


def _check_affine(path: Path, affine: NDArray[np.float64]) -> None:
    mend = "set its sform or qform, or convert it again from its source"
    if not np.isfinite(affine).all():
        raise FileError(path, "has an affine with NaN or infinity", mend)
    axes = affine[:3, :3]
    zooms = np.linalg.norm(axes, axis=0)
    # the volume that three unit axes span is 1 when they are at right angles, 0 when flat
    if zooms.min() == 0 or abs(np.linalg.det(axes / zooms)) < 1e-3:
        raise FileError(path, "has a singular affine: its voxels have no volume", mend)


def check_length(path: Path, header: Any, length: int) -> None:
    """Refuse a file (unpacked, of `length` bytes) that ends before its last voxel."""
    size = int(np.prod(header.get_data_shape(), dtype=object)) * header.get_data_dtype().itemsize
    needed = int(header.get_data_offset()) + size
    if length < needed:
        wrong = f"is truncated ({length} bytes of the {needed} its header promises)"
        raise FileError(path, wrong, "copy or download it again")


def check_finite(path: Path, data: NDArray[np.float32]) -> None:
    """Refuse NaN and infinity, saying how many voxels hold them."""
    bad = data.size - int(np.isfinite(data).sum())
    if bad:
        wrong = f"{bad} of its {data.size} voxels are NaN or infinite"
        mend = "replace them, or leave the subject out with dataset.exclude"
        raise FileError(path, wrong, mend)
