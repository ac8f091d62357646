"""A file that cannot be used, named with what is wrong and what to do."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from nibabel.wrapstruct import WrapStructError

from softseg.errors import UserError

_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
# all that nibabel raises for headers that are no headers, in the order of its modules
_UNREADABLE = (
    ImageFileError,
    HeaderDataError,
    HeaderTypeError,
    WrapStructError,
    ValueError,
    OverflowError,
    KeyError,
    struct.error,
    OSError,
)


class FileError(UserError):
    """One bad file: `<path>: <what is wrong>; <what to do>`."""

    def __init__(self, path: Path, wrong: str, mend: str) -> None:
        super().__init__(path, wrong, mend)  # as args, so that it survives pickling
        self.path = path

    def __str__(self) -> str:
        path, wrong, mend = self.args
        return f"{path}: {wrong}; {mend}"


@contextmanager
def reading(path: Path) -> Iterator[None]:
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
