"""The one reader and writer of NIfTI files: what it returns is sound, what it refuses it names."""

from __future__ import annotations

import gzip
import logging
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from numpy.typing import ArrayLike, NDArray

from softseg.data.bad_file import FileError, reading
from softseg.data.grid import Grid
from softseg.data.nifti_checks import check_finite, check_length, grid_of
from softseg.files import replacing

__all__ = ["FileError", "Volume", "read", "read_dtype", "read_grid", "write_like"]

# nibabel also prints what it finds wrong with a header; here it is said once, in the error
_QUIET = logging.Logger("quiet", level=logging.CRITICAL + 1)
_GZIP = b"\x1f\x8b"
# All that says where voxels lie; intent, description, scaling and extensions belong to the source.
_GEOMETRY = ("dim", "pixdim", "xyzt_units", "dim_info", "qform_code", "sform_code",
             "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
             "srow_x", "srow_y", "srow_z")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Volume:
    """One scan or mask: `data` (X, Y, Z) float32 in the file's own units, on its `grid`."""

    data: NDArray[np.float32]
    grid: Grid


def read(path: str | Path) -> Volume:
    """Read a whole file, scaled by its header's slope, as float32.

    A shape (X, Y) or (X, Y, Z, 1) becomes (X, Y, Z). Raises `FileError` for a file that is missing,
    truncated, damaged or not NIfTI, that holds several volumes, complex or colour voxels, NaN or
    infinity, or whose affine places its voxels nowhere.
    """
    path = Path(path)
    with reading(path), np.errstate(over="ignore", invalid="ignore"):
        content = _content(path)
        _, header = _header(BytesIO(content))
        grid = grid_of(path, header)
        check_length(path, header, len(content))
        stored = ArrayProxy(BytesIO(content), header)
        data = np.asarray(stored, dtype=np.float32).reshape(grid.shape)
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

    The file opens exactly where its source does: same shape (with its trailing ones), q- and sform
    and their codes, zooms and units; no scaling. It is written under a temporary name in the same
    folder, then renamed. Raises ValueError for another dtype, for data of another shape than the
    source's, and for values that uint8 would change; FileError for a bad source.
    """
    path, source = Path(path), Path(source)
    values = _as(np.asarray(data), np.dtype(dtype))
    with reading(source):
        image_class, known = _header_of(source)
        shape = grid_of(source, known).shape
    if values.shape != shape:
        raise ValueError(f"data of shape {values.shape} cannot lie on {source} of shape {shape}")
    header = image_class.header_class()
    for field in _GEOMETRY:
        header[field] = known[field]
    header.set_data_dtype(values.dtype)
    image = image_class(values.reshape(known.get_data_shape()), None, header)
    with replacing(path) as part:
        image.to_filename(part)


def _as(data: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The values in their type on disk, unless that would harden them."""
    if dtype not in (np.dtype(np.float32), np.dtype(np.uint8)):
        raise ValueError(f"masks are written as float32 or uint8, not {dtype}")
    values = data.astype(dtype)
    if dtype == np.uint8 and not np.array_equal(values, data):
        raise ValueError("soft values must be written as float32: uint8 would change them")
    return values


def _content(path: Path) -> bytes:
    """The whole file, unpacked; in one go, since only then gzip's checksum is verified."""
    raw = path.read_bytes()
    return gzip.decompress(raw) if raw.startswith(_GZIP) else raw


def _header_of(path: Path) -> tuple[Any, Any]:
    """The image class and header of a file of which the rest is not read."""
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        with gzip.GzipFile(fileobj=file) if packed else file as stream:
            return _header(cast(BinaryIO, stream))


def _header(stream: BinaryIO) -> tuple[Any, Any]:
    """The nibabel image class (NIfTI-1 or NIfTI-2) and the header at the start of a stream."""
    start = stream.read(4)
    if len(start) < 4:
        raise EOFError("it ends before its header does")
    stream.seek(0)
    is_second = 540 in (int.from_bytes(start, "little"), int.from_bytes(start, "big"))
    image_class: Any = nib.Nifti2Image if is_second else nib.Nifti1Image
    header = image_class.header_class.from_fileobj(stream, check=False)
    header.check_fix(logger=_QUIET)  # raises for what cannot be fixed
    return image_class, header
