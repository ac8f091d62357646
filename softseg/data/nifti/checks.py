"""What a file, its header and its voxels must satisfy to be one volume with a position."""

from __future__ import annotations

import errno
import math
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from nibabel.wrapstruct import WrapStructError

from softseg.core.errors import UserError
from softseg.core.memory import GIB, machine_memory_bytes
from softseg.core.types import Float32Array, Float64Array
from softseg.data.nifti.grid import Grid

PADDING = 512
"""Bytes that may follow the last voxel: some writers fill their last block."""
_MAX_RATIO = 1032  # of a gzip file: unpacked size to packed size
_CODES = range(6)  # of qform and sform
_UNITS = {1: ("meter", 1000.0), 2: ("mm", 1.0), 3: ("micron", 0.001)}  # xyzt_units -> name, mm
# No scanner has voxels above 100 mm. Voxels of 1 µm or less are from a microscope, or they are of
# 1 mm in a header in meters that does not say so: such a header must name its unit, microns, down
# to 1 nm, the limit of microscopes.
_MAX_ZOOM = 100.0
_MIN_ZOOM = 1.01e-3
_MIN_ZOOM_MICRON = 1e-6
_MAX_POSITION = 1e9
_PICTURES = (".png", ".tif", ".tiff")
_DAMAGED = (EOFError, zlib.error)
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
# what nibabel raises for files that have no valid header, in the order of its modules
_UNREADABLE = (
    ImageFileError,
    HeaderDataError,
    HeaderTypeError,
    WrapStructError,
    ValueError,
    OverflowError,
    KeyError,
    struct.error,
)


class FileError(UserError):
    """One bad file: `<path>: <what is wrong>; <what to do>`."""

    def __init__(self, path: Path, wrong: str, fix: str) -> None:
        super().__init__(path, wrong, fix)  # as args, so that it survives pickling
        self.path = path

    def __str__(self) -> str:
        path, wrong, fix = self.args
        return f"{path}: {wrong}; {fix}"


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Raise whatever goes wrong while one file is read as a `FileError` with its path."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise FileError(path, "is not a file", "name a NIfTI file (.nii or .nii.gz)")
        if path.suffix.lower() in _PICTURES:
            wrong = f"is a {path.suffix[1:].upper()} file, which softseg does not read"
            raise FileError(path, wrong, "convert it to NIfTI with softseg convert images")
        yield
    except _DAMAGED as error:
        wrong = f"is truncated or damaged ({_first_line(error)})"
        raise FileError(path, wrong, "copy or download it again") from error
    except PermissionError as error:
        raise FileError(path, "is not readable", "change its permissions") from error
    except OSError as error:
        wrong = f"cannot be read ({error.strerror or _first_line(error)})"
        fix = "check its name and its disk"
        if error.errno in _ABSENT:
            wrong, fix = "does not exist", "check the path"
            if path.is_symlink():
                wrong, fix = "is a link to a file that does not exist", "fetch its content"
        raise FileError(path, wrong, fix) from error
    except MemoryError as error:
        fix = "crop it, or leave the subject out with dataset.exclude"
        raise FileError(path, "needs more memory than is free", fix) from error
    except _UNREADABLE as error:
        wrong = f"is not a valid NIfTI file ({_first_line(error)})"
        raise FileError(path, wrong, "convert it to .nii.gz again from its source") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def check_header(header: Any) -> None:
    """Raise ValueError for a header that leaves something open or would be misread silently."""
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
    # voxels are placed by the sform, or else by the qform or by nothing, both with the zooms
    if header["sform_code"] not in _CODES:
        raise ValueError(f"its sform_code is {header['sform_code']}, not 0 to 5")
    if header["sform_code"]:
        return
    if header["qform_code"] not in _CODES:
        raise ValueError(f"its qform_code is {header['qform_code']}, not 0 to 5")
    used = header["dim"][1 : min(rank, 3) + 1] > 1
    if (header["pixdim"][1 : len(used) + 1][used] == 0).any():
        raise ValueError("its pixdim is 0 and it has no sform, so its voxels have no size")


@np.errstate(over="ignore", invalid="ignore")  # of numbers that are then rejected
def grid_of(path: Path, header: Any, frame: int | None = None, count: int | None = None) -> Grid:
    """Return the grid of one volume, or of the volume with index `frame` of a 4D file.

    Raises FileError if there is not exactly one volume (with `count`, not exactly so many), and
    for voxels or an affine that are not usable.
    """
    shape = tuple(int(n) for n in header.get_data_shape())
    if not shape or min(shape) < 1:
        raise FileError(path, f"has the shape {shape}", "every dimension must be at least 1")
    frames = int(np.prod(shape[3:], dtype=object))
    if count is not None and frames != count:
        fix = "correct the channels in dataset.json, or the file"
        raise FileError(path, f"holds {frames} frame(s) {shape}, not {count} channels", fix)
    if frames > 1 and not 0 <= (-1 if frame is None else frame) < frames:
        missing = "" if frame is None else f"; there is no frame {frame}"
        fix = f"save one frame as a file (`softseg predict` takes --frame 0 to {frames - 1})"
        raise FileError(path, f"holds {frames} frames {shape}{missing}", fix)
    dtype = header.get_data_dtype()
    if dtype.kind not in "iufb":
        kind = "complex" if dtype.kind == "c" else "color (RGB)"
        raise FileError(path, f"holds {kind} voxels", "save one real number per voxel")
    x, y, z = (*shape[:3], 1, 1)[:3]
    unit, millimeters = length_unit(header)
    affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    affine[:3] *= millimeters
    _check_affine(path, affine, unit)
    return Grid((x, y, z), affine)


def length_unit(header: Any) -> tuple[str, float]:
    """Return the unit of a header's sizes and positions (xyzt_units), and its length in mm.

    A header without a unit is in mm, as most programs take it.
    """
    return _UNITS.get(int(header["xyzt_units"]) & 7, ("unknown", 1.0))


def _check_affine(path: Path, affine: Float64Array, unit: str) -> None:
    """Raise FileError for an affine in mm that does not place voxels of a usable size."""
    fix = "set its sform or qform, or convert it again from its source"
    if not np.isfinite(affine).all():
        raise FileError(path, "has an affine with NaN or infinity", fix)
    axes = affine[:3, :3]
    zooms = np.linalg.norm(axes, axis=0)
    # the volume that three unit axes span is 1 when they are at right angles, 0 when flat
    if zooms.min() == 0 or abs(np.linalg.det(axes / zooms)) < 1e-3:
        raise FileError(path, "has a singular affine: its voxels have no volume", fix)
    smallest = _MIN_ZOOM_MICRON if unit == "micron" else _MIN_ZOOM
    if zooms.min() < smallest or zooms.max() > _MAX_ZOOM:
        sizes = " x ".join(f"{zoom:.3g}" for zoom in zooms)
        wrong = f"has voxels of {sizes} mm (the unit in its header: {unit})"
        fix = "correct the unit (xyzt_units: 1 meter, 2 mm, 3 micron) or the affine in its header"
        raise FileError(path, wrong, fix)
    position = np.abs(affine).max()
    if position > _MAX_POSITION:
        raise FileError(path, f"has an affine with a position {position:.3g} mm away", fix)


def declared_bytes(header: Any) -> int:
    """Return the length of the unpacked file, up to its last voxel, that a header declares."""
    voxels = int(np.prod(header.get_data_shape(), dtype=object))
    return int(header.get_data_offset()) + voxels * int(header.get_data_dtype().itemsize)


def check_memory(path: Path, header: Any, on_disk: int) -> None:
    """Raise FileError, before unpacking, for a file of `on_disk` bytes that cannot hold its voxels
    or that does not fit in memory.

    The voxels are in memory twice as stored and once as float32.
    """
    declared = declared_bytes(header)
    if declared > _MAX_RATIO * on_disk:
        wrong = f"is truncated ({on_disk} bytes cannot hold the {declared} its header declares)"
        raise FileError(path, wrong, "copy or download it again")
    voxels = int(np.prod(header.get_data_shape(), dtype=object))
    needed, available = 2 * declared + 4 * voxels, machine_memory_bytes()
    if needed > available:
        wrong = f"needs {needed / GIB:.0f} GiB of memory, and the machine has {available / GIB:.0f}"
        raise FileError(path, wrong, "crop it, or leave the subject out with dataset.exclude")


def check_length(path: Path, header: Any, length: int) -> None:
    """Raise FileError for a file of `length` bytes, unpacked, that does not end with its voxels."""
    declared = declared_bytes(header)
    if length < declared:
        wrong = f"is truncated ({length} bytes of the {declared} its header declares)"
        raise FileError(path, wrong, "copy or download it again")
    if length > declared + PADDING:
        wrong = f"is longer than its header declares ({declared} bytes)"
        raise FileError(path, wrong, "its shape or datatype is wrong: convert it again")


def check_finite(path: Path, data: Float32Array) -> None:
    """Raise FileError for NaN and infinity, with the number of such voxels."""
    bad = data.size - int(np.isfinite(data).sum())
    if bad:
        wrong = f"{bad} of its {data.size} voxels are NaN or infinite as float32"
        fix = "replace them, or leave the subject out with dataset.exclude"
        raise FileError(path, wrong, fix)
