"""The one reader and writer of NIfTI files: what it returns is sound, what it refuses it names."""

from __future__ import annotations

import logging
import math
import os
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from numpy.typing import ArrayLike

from softseg.core.files import replacing
from softseg.core.types import AnyArray, Float32Array
from softseg.data.nifti.file_error import FileError, reading
from softseg.data.nifti.grid import Grid
from softseg.data.nifti.header_checks import (
    PADDING,
    bytes_of,
    check_finite,
    check_length,
    check_room,
    check_stated,
    grid_of,
)

__all__ = ["FileError", "Volume", "read_volume", "read_dtype", "read_grid", "write_like"]

# nibabel also prints what it finds wrong with a header; here it is said once, in the error
_QUIET = logging.Logger("quiet", level=logging.CRITICAL + 1)
_GZIP = b"\x1f\x8b"
_BLOCK = 1 << 16  # bytes of a gzip file that are unpacked at a time
_HEADER = 540  # bytes: NIfTI-2's; NIfTI-1's is shorter
# All that says where voxels lie; intent, description, scaling and extensions belong to the source.
_GEOMETRY = ("dim", "pixdim", "xyzt_units", "dim_info", "qform_code", "sform_code",
             "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
             "srow_x", "srow_y", "srow_z")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Volume:
    """One scan or mask: `data` (X, Y, Z) float32 in the file's own units, on its `grid`."""

    data: Float32Array
    grid: Grid


def read_volume(path: str | Path, frame: int | None = None) -> Volume:
    """Read a whole file, scaled by its header's slope, as float32.

    A shape (X, Y) or (X, Y, Z, 1) becomes (X, Y, Z); of a 4D file (X, Y, Z, N) the frame of
    this index, from 0. Raises `FileError` for a file that is missing, truncated, damaged or not
    NIfTI, that goes on after its last voxel, that holds several volumes and none is chosen, complex
    or color voxels, NaN or infinity, whose affine places its voxels nowhere, or that needs more
    memory than there is. No more of it is unpacked than its header promises.
    """
    path = Path(path)
    with reading(path), np.errstate(over="ignore", invalid="ignore"):
        _, header = _header_of(path)
        grid = grid_of(path, header, frame)
        check_room(path, header, path.stat().st_size)
        content = _start_of(path, bytes_of(header) + PADDING + 1)
        check_length(path, header, len(content))
        stored = ArrayProxy(BytesIO(content), header).reshape((*grid.shape, -1))
        chosen = 0 if stored.shape[-1] == 1 else frame
        data = np.asarray(stored[..., chosen], dtype=np.float32)
    check_finite(path, data)
    return Volume(data, grid)


def read_grid(path: str | Path) -> Grid:
    """Read the header only. Raises `FileError` for whatever the header shows to be wrong."""
    path = Path(path)
    with reading(path):
        return grid_of(path, _header_of(path)[1])


def read_dtype(path: str | Path) -> str:
    """The type of the voxels on disk, such as int16, before the header's slope."""
    path = Path(path)
    with reading(path):
        return str(_header_of(path)[1].get_data_dtype())


def write_like(path: str | Path, data: ArrayLike, source: str | Path, dtype: Any) -> None:
    """Write `data` (X, Y, Z) as float32 or uint8 on the grid of the file `source`.

    The file opens exactly where its source does: same shape (with its trailing ones; one volume,
    where the source has several), q- and sform and their codes, zooms and units; no scaling. It is
    written under a temporary name in the same folder, then renamed. Raises ValueError for another
    dtype, for data of another shape than the source's, and for values that uint8 would change;
    FileError for a bad source.
    """
    path, source = Path(path), Path(source)
    values = _as(np.asarray(data), np.dtype(dtype))
    with reading(source):
        image_class, known = _header_of(source)
        shape = grid_of(source, known, frame=0).shape
    if values.shape != shape:
        raise ValueError(f"data of shape {values.shape} cannot lie on {source} of shape {shape}")
    header = image_class.header_class()
    for field in _GEOMETRY:
        header[field] = known[field]
    header.set_data_dtype(values.dtype)
    stored = known.get_data_shape()
    alike = stored if values.size == math.prod(stored) else shape
    image = image_class(values.reshape(alike), None, header)
    with replacing(path) as part:
        image.to_filename(part)


def _as(data: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
    """The values in their type on disk, unless that would harden them."""
    if dtype not in (np.dtype(np.float32), np.dtype(np.uint8)):
        raise ValueError(f"masks are written as float32 or uint8, not {dtype}")
    values = data.astype(dtype)
    if dtype == np.uint8 and not np.array_equal(values, data):
        raise ValueError("soft values must be written as float32: uint8 would change them")
    return values


def _start_of(path: Path, most: int) -> bytes:
    """The first `most` bytes of a file, unpacked; the whole file, if it holds no more."""
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        if packed:
            return _unpacked(file, most)
        return file.read(min(most, os.fstat(file.fileno()).st_size))


def _unpacked(file: BinaryIO, most: int) -> bytes:
    """The first `most` bytes that a gzip file holds; every checksum on the way is verified.

    Raises EOFError where it ends too early, zlib.error where it is damaged.
    """
    pieces, left = [], most
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


def _header_of(path: Path) -> tuple[Any, Any]:
    """The nibabel image class (NIfTI-1 or NIfTI-2) and header of a file; no more of it is read.

    Extensions are left out: they may have any size, and nothing here needs them.
    """
    start = _start_of(path, _HEADER)
    is_second = _HEADER in (int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big"))
    image_class: Any = nib.Nifti2Image if is_second else nib.Nifti1Image
    size = image_class.header_class.sizeof_hdr
    if len(start) < size:
        raise EOFError("it ends before its header does")
    header = image_class.header_class(start[:size], check=False)
    check_stated(header)
    header.check_fix(logger=_QUIET)  # raises for what cannot be fixed
    return image_class, header
