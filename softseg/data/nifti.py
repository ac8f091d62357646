"""The one reader and writer of NIfTI files: what it returns is sound, what it refuses it names."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from numpy.typing import ArrayLike, NDArray

from softseg.data.grid import Grid
from softseg.errors import UserError
from softseg.files import replacing

_GZIP = b"\x1f\x8b"
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
_UNREADABLE = (ImageFileError, HeaderDataError, HeaderTypeError, ValueError, OverflowError,
               KeyError, struct.error, OSError)  # fmt: skip
# All that says where voxels lie; intent, description, scaling and extensions belong to the source.
_GEOMETRY = ("dim", "pixdim", "xyzt_units", "dim_info", "qform_code", "sform_code",
             "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
             "srow_x", "srow_y", "srow_z")  # fmt: skip


class FileError(UserError):
    """One bad file: `<path>: <what is wrong>; <what to do>`."""

    def __init__(self, path: Path, wrong: str, mend: str) -> None:
        super().__init__(path, wrong, mend)  # as args, so that it survives pickling
        self.path = path

    def __str__(self) -> str:
        path, wrong, mend = self.args
        return f"{path}: {wrong}; {mend}"


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
    content = _content(path)
    with _reading(path):
        image_class, header = _header(BytesIO(content))
    grid = _grid(path, header)
    _check_length(path, header, len(content))
    with _reading(path), np.errstate(over="ignore", invalid="ignore"):
        image = image_class.from_bytes(content)
        data = image.get_fdata(dtype=np.float32, caching="unchanged").reshape(grid.shape)
    _check_finite(path, data)
    return Volume(data, grid)


def read_grid(path: str | Path) -> Grid:
    """Read the header only. Raises `FileError` for whatever the header shows to be wrong."""
    path = Path(path)
    return _grid(path, _header_of(path)[1])


def write_like(path: str | Path, data: ArrayLike, source: str | Path, dtype: Any) -> None:
    """Write `data` (X, Y, Z) as float32 or uint8 on the grid of the file `source`.

    The file opens exactly where its source does: same shape (with its trailing ones), q- and sform
    and their codes, zooms and units; no scaling. It is written under a temporary name in the same
    folder, then renamed. Raises ValueError for another dtype, for data of another shape than the
    source's, and for values that uint8 would change; FileError for a bad source.
    """
    path, source = Path(path), Path(source)
    values = _as(np.asarray(data), np.dtype(dtype))
    image_class, known = _header_of(source)
    shape = _grid(source, known).shape
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


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever can go wrong in reading one file into a `FileError` that names it."""
    _check_is_file(path)
    try:
        yield
    except _DAMAGED as error:
        wrong = f"is truncated or damaged ({_first_line(error)})"
        raise FileError(path, wrong, "copy or download it again") from error
    except PermissionError as error:
        raise FileError(path, "may not be read", "change its permissions") from error
    except _UNREADABLE as error:
        wrong = f"is not a sound NIfTI file ({_first_line(error)})"
        raise FileError(path, wrong, "convert it to .nii.gz again from its source") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _check_is_file(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise FileError(path, "is a link to a file that is not here", "fetch its content")
    if not path.exists():
        raise FileError(path, "does not exist", "check the path")
    if not path.is_file():
        raise FileError(path, "is not a file", "name a NIfTI file (.nii or .nii.gz)")


def _content(path: Path) -> bytes:
    """The whole file, unpacked; in one go, since only then gzip's checksum is verified."""
    with _reading(path):
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw.startswith(_GZIP) else raw


def _header_of(path: Path) -> tuple[Any, Any]:
    """The image class and header of a file of which the rest is not read."""
    with _reading(path), path.open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        with gzip.GzipFile(fileobj=file) if packed else file as stream:
            return _header(cast(BinaryIO, stream))


def _header(stream: BinaryIO) -> tuple[Any, Any]:
    """The nibabel image class (NIfTI-1 or NIfTI-2) and the header at the start of a stream."""
    start = stream.read(4)
    if len(start) < 4:
        raise ValueError("it is empty")
    stream.seek(0)
    is_second = 540 in (int.from_bytes(start, "little"), int.from_bytes(start, "big"))
    image_class: Any = nib.Nifti2Image if is_second else nib.Nifti1Image
    return image_class, image_class.header_class.from_fileobj(stream)


def _grid(path: Path, header: Any) -> Grid:
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
    with _reading(path):
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


def _check_length(path: Path, header: Any, length: int) -> None:
    size = int(np.prod(header.get_data_shape(), dtype=object)) * header.get_data_dtype().itemsize
    needed = int(header.get_data_offset()) + size
    if length < needed:
        wrong = f"is truncated ({length} bytes of the {needed} its header promises)"
        raise FileError(path, wrong, "copy or download it again")


def _check_finite(path: Path, data: NDArray[np.float32]) -> None:
    bad = data.size - int(np.isfinite(data).sum())
    if bad:
        wrong = f"{bad} of its {data.size} voxels are NaN or infinite"
        mend = "replace them, or leave the subject out with dataset.exclude"
        raise FileError(path, wrong, mend)
