"""The reader and writer of NIfTI files: it returns valid volumes or raises FileError."""

from __future__ import annotations

import gzip
import logging
import math
import os
import re
import zlib
from collections import Counter
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from numpy.typing import ArrayLike, NDArray

from softseg.core.files import replacing
from softseg.core.types import Float32Array
from softseg.data.nifti.checks import (
    PADDING,
    check_finite,
    check_header,
    check_length,
    check_memory,
    declared_bytes,
    file_errors,
    grid_of,
    length_unit,
)
from softseg.data.nifti.grid import Grid

# Endings of image files that are not read -> their format.
_OTHER_FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF",
    ".dcm": "DICOM", ".ima": "DICOM", ".nrrd": "NRRD", ".nhdr": "NRRD", ".mha": "MetaImage",
    ".mhd": "MetaImage", ".mgz": "FreeSurfer", ".mgh": "FreeSurfer", ".img": "Analyze",
}  # fmt: skip
# nibabel also prints what is wrong with a header; the error has it already
_QUIET = logging.Logger("quiet", level=logging.CRITICAL + 1)
_ENDING = re.compile(r"\.nii(\.gz)?\Z", re.IGNORECASE)
_GZIP = b"\x1f\x8b"
_GZIP_LEVEL = 1
_BLOCK = 1 << 16  # bytes of a gzip file that are unpacked at a time
_HEADER_BYTES = 540  # of NIfTI-2; the header of NIfTI-1 is shorter
# Fields that place the voxels; intent, description, scaling and extensions belong to the source.
_GEOMETRY = ("dim", "pixdim", "xyzt_units", "dim_info", "qform_code", "sform_code",
             "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
             "srow_x", "srow_y", "srow_z")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Volume:
    """One scan or mask: `data` (X, Y, Z) float32 in the file's own units, on its `grid` in mm."""

    data: Float32Array
    grid: Grid
    unit: str = "mm"
    """The unit of length in the file's header: meter, mm, micron or unknown (read as mm)."""


def read_volume(path: str | Path, frame: int | None = None, count: int | None = None) -> Volume:
    """Read a whole file, scaled by its header's slope, as float32.

    A shape (X, Y) or (X, Y, Z, 1) becomes (X, Y, Z); of a 4D file (X, Y, Z, N) the frame of
    this index, from 0; with `count`, it must hold so many. No more of the file is unpacked than
    its header declares.

    Raises `FileError` for a file that is missing, truncated, damaged, not NIfTI or longer than its
    header declares; that holds several volumes of which none is chosen, complex or color voxels,
    NaN or infinity, or an unusable affine; or that needs more memory than the machine has.
    """
    path = Path(path)
    stored, grid, header = _read_stored(path, frame, count)
    data = _as_float32(path, stored, 0 if stored.shape[-1] == 1 else frame)
    return Volume(data, grid, length_unit(header)[0])


def read_volumes(path: str | Path) -> tuple[Float32Array, Grid]:
    """Read all volumes of a 4D file (X, Y, Z, N), as (N, X, Y, Z), and their grid.

    Raises FileError as `read_volume`.
    """
    path = Path(path)
    stored, grid, _ = _read_stored(path, frame=0)
    return np.moveaxis(_as_float32(path, stored, slice(None)), -1, 0), grid


def count_volumes(path: str | Path) -> int:
    """Return how many volumes a file holds, from its header. Raises FileError for a bad header."""
    path = Path(path)
    with file_errors(path):
        return math.prod(_read_header(path)[1].get_data_shape()[3:])


def read_grid(path: str | Path) -> Grid:
    """Read the grid from the header only. Raises `FileError` for a header that is not valid."""
    path = Path(path)
    with file_errors(path):
        return grid_of(path, _read_header(path)[1])


def read_dtype(path: str | Path) -> str:
    """Return the type of the voxels on disk, such as int16, before the header's slope."""
    path = Path(path)
    with file_errors(path):
        return str(_read_header(path)[1].get_data_dtype())


def write_like(path: str | Path, data: ArrayLike, source: str | Path, dtype: Any) -> None:
    """Write `data` (X, Y, Z) as float32, uint8 or uint16 on the grid of the file `source`.

    The file has the source's geometry: the same shape (with its trailing ones; one volume if the
    source has several), q- and sform and their codes, zooms and units; no scaling. It is written
    under a temporary name in the same folder, then renamed.

    Raises ValueError for another dtype, for data of another shape than the source's, and for values
    that a whole number would change; FileError for a bad source.
    """
    path, source = Path(path), Path(source)
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.uint8, np.uint16):
        raise ValueError(f"masks are written as float32, uint8 or uint16, not {dtype}")
    values = np.asarray(data).astype(dtype)
    if dtype != np.float32 and not np.array_equal(values, np.asarray(data)):
        raise ValueError(f"soft values must be written as float32: {dtype} would change them")
    with file_errors(source):
        image_class, source_header = _read_header(source)
        shape = grid_of(source, source_header, frame=0).shape
    if values.shape != shape:
        raise ValueError(f"data of shape {values.shape} do not fit {source} of shape {shape}")
    header = image_class.header_class()
    for field in _GEOMETRY:
        header[field] = source_header[field]
    header.set_data_dtype(values.dtype)
    stored_shape = source_header.get_data_shape()
    if values.size == math.prod(stored_shape):
        shape = stored_shape
    image = image_class(values.reshape(shape), None, header)
    with replacing(path) as part, part.open("wb") as file:
        if path.suffix == ".gz":  # as nibabel compresses, which decides by the suffix of a name
            with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as stream:
                image.to_stream(stream)
        else:
            image.to_stream(file)


def nifti_bytes(data: NDArray[Any], affine: ArrayLike, unit: str = "mm") -> bytes:
    """Return a new, uncompressed NIfTI file with `data` (X, Y, Z) of any dtype that NIfTI has.

    `affine` (4, 4) takes voxels to the RAS+ world, in `unit`: mm or micron.
    """
    image = nib.Nifti1Image(data, np.asarray(affine))
    image.header.set_xyzt_units(unit)
    content: bytes = image.to_bytes()
    return content


def _read_stored(
    path: Path, frame: int | None, count: int | None = None
) -> tuple[ArrayProxy, Grid, Any]:
    """Return the voxels of a file (X, Y, Z, N), not scaled yet, the grid and the header."""
    with file_errors(path):
        _, header = _read_header(path)
        grid = grid_of(path, header, frame, count)
        check_memory(path, header, path.stat().st_size)
        content = _read_start(path, declared_bytes(header) + PADDING + 1)
        check_length(path, header, len(content))
        return ArrayProxy(BytesIO(content), header).reshape((*grid.shape, -1)), grid, header


def _as_float32(path: Path, stored: ArrayProxy, index: int | slice | None) -> Float32Array:
    """Return one or all of the volumes, scaled. Raises FileError for NaN and infinity."""
    with file_errors(path), np.errstate(over="ignore", invalid="ignore"):
        data = np.asarray(stored[..., index], dtype=np.float32)
    check_finite(path, data)
    return data


def _read_start(path: Path, limit: int) -> bytes:
    """Return the first `limit` bytes of a file, unpacked; all of it if it is not longer."""
    with path.open("rb") as file:
        is_packed = file.read(2) == _GZIP
        file.seek(0)
        if is_packed:
            return _unpack(file, limit)
        return file.read(min(limit, os.fstat(file.fileno()).st_size))


def _unpack(file: BinaryIO, limit: int) -> bytes:
    """Return the first `limit` bytes that a gzip file holds, verifying every checksum on the way.

    Raises EOFError if it ends too early, zlib.error if it is damaged. Unlike the module gzip, zlib
    rejects unknown flags and verifies the checksum of a header.
    """
    pieces, left = [], limit
    member, block = zlib.decompressobj(wbits=31), file.read(_BLOCK)
    while block and left:
        if member.eof:  # zeros may follow, or another member
            block = block.lstrip(b"\0")
            if not block:
                block = file.read(_BLOCK)
                continue
            member = zlib.decompressobj(wbits=31)
        pieces.append(member.decompress(block, left))
        left -= len(pieces[-1])
        block = member.unused_data or file.read(_BLOCK)
    if left and not member.eof:
        raise EOFError("its gzip stream has no end")
    return b"".join(pieces)


def _read_header(path: Path) -> tuple[Any, Any]:
    """Return the nibabel image class (NIfTI-1 or NIfTI-2) and header; no more of a file is read.

    Extensions are left out: they may have any size, and nothing here needs them.
    """
    start = _read_start(path, _HEADER_BYTES)
    declared_sizes = [int.from_bytes(start[:4], order) for order in ("little", "big")]
    image_class: Any = nib.Nifti2Image if _HEADER_BYTES in declared_sizes else nib.Nifti1Image
    size = image_class.header_class.sizeof_hdr
    if len(start) < size:
        raise EOFError("it ends before its header does")
    header = image_class.header_class(start[:size], check=False)
    check_header(header)
    header.check_fix(logger=_QUIET)  # raises an error for what cannot be fixed
    return image_class, header


def file_stem(path: Path) -> str:
    """Return a file's name without .nii or .nii.gz; any other name is returned unchanged."""
    return _ENDING.sub("", path.name)


def nifti_stem(path: Path) -> str:
    """Return a NIfTI file's name without .nii or .nii.gz.

    Empty for a hidden file (macOS leaves `._scan.nii.gz` next to `scan.nii.gz`) and for a file
    without such an ending.
    """
    stem = file_stem(path)
    return "" if stem == path.name or stem.startswith(".") else stem


def nifti_files(folder: Path, pattern: str = "**/*") -> list[Path]:
    """Return the NIfTI files of a folder and its subfolders, sorted; hidden ones are left out."""
    return sorted(path for path in folder.glob(pattern) if nifti_stem(path) and path.is_file())


def unreadable_formats(folder: Path) -> str:
    """Return which image files of other formats a folder holds, and what to do; "" if none."""
    formats = Counter(_other_format(path) for path in folder.rglob("*") if path.is_file())
    del formats[""]
    if not formats:
        return ""
    counts = " and ".join(f"{count} {name} file(s)" for name, count in formats.most_common())
    tool = " with dcm2niix" if "DICOM" in formats else ""
    tool = tool or (" with softseg convert images" if formats.keys() & {"PNG", "TIFF"} else "")
    return f"{counts}, which softseg does not read: convert them to NIfTI (.nii.gz){tool}"


def _other_format(path: Path) -> str:
    """Return the name of an image file's format, if it is not NIfTI; "" for other files."""
    if name := _OTHER_FORMATS.get(path.suffix.lower()):
        return name
    if path.suffix:  # files of a scanner often have no ending
        return ""
    with path.open("rb") as file:
        return "DICOM" if file.read(132)[128:] == b"DICM" else ""
