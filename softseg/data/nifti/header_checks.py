"""What a header and its voxels must satisfy for a file to be one volume that lies somewhere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from softseg.core.memory import machine_memory_bytes
from softseg.core.types import Float32Array, Float64Array
from softseg.data.nifti.file_error import FileError
from softseg.data.nifti.grid import Grid

PADDING = 512
"""Bytes that may follow the last voxel: some writers fill their last block."""
_DENSEST = 1032  # no gzip file unpacks to more than so many times its size
_CODES = range(6)  # of qform and sform
# Whatever unit of length a file has, its zooms and places lie within; beyond, rounding is as large
# as voxels, and no resampled grid could be held.
_ZOOMS = (1e-6, 1e6)
_FARTHEST = 1e9


def check_stated(header: Any) -> None:
    """Refuse (ValueError) what could only be guessed, or would be read wrongly without a word."""
    rank, offset = int(header["dim"][0]), float(header["vox_offset"])
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if header["magic"].item() == header.pair_magic:
        raise ValueError("it is the header of a pair of files, .hdr and .img")
    if header["magic"].item() != header.single_magic:
        raise ValueError("it does not begin with a NIfTI header")
    if not 1 <= rank <= 7:
        raise ValueError(f"it has {rank} dimensions, not 1 to 7")
    if offset == 0 or not math.isfinite(offset):
        raise ValueError(f"its vox_offset is {offset:g}")
    if math.isinf(slope):
        raise ValueError("its scl_slope is infinite")
    if slope and not math.isnan(slope) and not math.isfinite(inter):  # else there is no scaling
        raise ValueError(f"its scl_inter is {inter:g}")
    _check_codes(header, rank)


def _check_codes(header: Any, rank: int) -> None:
    """What says where voxels lie: the sform, or else the qform or nothing, each with the zooms."""
    if header["sform_code"] not in _CODES:
        raise ValueError(f"its sform_code is {header['sform_code']}, not 0 to 5")
    if header["sform_code"]:
        return
    if header["qform_code"] not in _CODES:
        raise ValueError(f"its qform_code is {header['qform_code']}, not 0 to 5")
    used = header["dim"][1 : min(rank, 3) + 1] > 1
    if (header["pixdim"][1 : len(used) + 1][used] == 0).any():
        raise ValueError("its pixdim is 0 and it has no sform, so its voxels have no size")


@np.errstate(over="ignore", invalid="ignore")  # of numbers that are then refused
def grid_of(path: Path, header: Any, frame: int | None = None) -> Grid:
    """Where the voxels lie, after checking that it is one volume, or has this one, and lies
    somewhere."""
    shape = tuple(int(n) for n in header.get_data_shape())
    if not shape or min(shape) < 1:
        raise FileError(path, f"has the shape {shape}", "every dimension must be at least 1")
    frames = int(np.prod(shape[3:], dtype=object))
    if frames > 1 and not 0 <= (-1 if frame is None else frame) < frames:
        asked = "" if frame is None else f"; there is no frame {frame}"
        fix = f"save one frame as a file (`softseg predict` takes --frame 0 to {frames - 1})"
        raise FileError(path, f"holds {frames} frames {shape}{asked}", fix)
    kind = header.get_data_dtype()
    if kind.kind not in "iufb":
        raise FileError(path, f"holds {_kind(kind)} voxels", "save one real number per voxel")
    x, y, z = (*shape[:3], 1, 1)[:3]
    affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    _check_affine(path, affine)
    return Grid((x, y, z), affine)


def _kind(dtype: np.dtype[Any]) -> str:
    return "complex" if dtype.kind == "c" else "color (RGB)"


def _check_affine(path: Path, affine: Float64Array) -> None:
    mend = "set its sform or qform, or convert it again from its source"
    if not np.isfinite(affine).all():
        raise FileError(path, "has an affine with NaN or infinity", mend)
    axes = affine[:3, :3]
    zooms = np.linalg.norm(axes, axis=0)
    # the volume that three unit axes span is 1 when they are at right angles, 0 when flat
    if zooms.min() == 0 or abs(np.linalg.det(axes / zooms)) < 1e-3:
        raise FileError(path, "has a singular affine: its voxels have no volume", mend)
    if zooms.min() < _ZOOMS[0] or zooms.max() > _ZOOMS[1]:
        sizes = " x ".join(f"{zoom:.3g}" for zoom in zooms)
        raise FileError(path, f"has an affine with voxels of {sizes} mm", mend)
    if np.abs(affine).max() > _FARTHEST:
        raise FileError(path, f"has an affine with a place {np.abs(affine).max():.3g} mm off", mend)


def bytes_of(header: Any) -> int:
    """How long a header says its file is, unpacked, up to its last voxel."""
    voxels = int(np.prod(header.get_data_shape(), dtype=object))
    return int(header.get_data_offset()) + voxels * int(header.get_data_dtype().itemsize)


def check_room(path: Path, header: Any, on_disk: int) -> None:
    """Refuse, before it is unpacked, a file that cannot hold its voxels or cannot be held.

    `on_disk` is its size in bytes. The voxels are in memory twice as stored and once as float32.
    """
    promised = bytes_of(header)
    if promised > _DENSEST * on_disk:
        wrong = f"is truncated ({on_disk} bytes cannot hold the {promised} its header promises)"
        raise FileError(path, wrong, "copy or download it again")
    voxels = int(np.prod(header.get_data_shape(), dtype=object))
    wanted, there = 2 * promised + 4 * voxels, machine_memory_bytes()
    if wanted > there:
        wrong = f"needs {wanted / 2**30:.0f} GiB of memory, and there are {there / 2**30:.0f}"
        raise FileError(path, wrong, "crop it, or leave the subject out with dataset.exclude")


def check_length(path: Path, header: Any, length: int) -> None:
    """Refuse a file (unpacked, of `length` bytes) that does not end with its last voxel."""
    promised = bytes_of(header)
    if length < promised:
        wrong = f"is truncated ({length} bytes of the {promised} its header promises)"
        raise FileError(path, wrong, "copy or download it again")
    if length > promised + PADDING:
        wrong = f"goes on after its last voxel (its header promises {promised} bytes)"
        raise FileError(path, wrong, "its shape or datatype is wrong: convert it again")


def check_finite(path: Path, data: Float32Array) -> None:
    """Refuse NaN and infinity, saying how many voxels hold them."""
    bad = data.size - int(np.isfinite(data).sum())
    if bad:
        wrong = f"{bad} of its {data.size} voxels are NaN or infinite as float32"
        mend = "replace them, or leave the subject out with dataset.exclude"
        raise FileError(path, wrong, mend)
