"""The error for a file that cannot be used: its path, what is wrong and what to do."""

from __future__ import annotations

import errno
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from nibabel.wrapstruct import WrapStructError

from softseg.core.errors import UserError

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
        _check_is_file(path)
        yield
    except _DAMAGED as error:
        wrong = f"is truncated or damaged ({_first_line(error)})"
        raise FileError(path, wrong, "copy or download it again") from error
    except PermissionError as error:
        raise FileError(path, "is not readable", "change its permissions") from error
    except OSError as error:
        wrong = f"cannot be read ({error.strerror or _first_line(error)})"
        raise FileError(path, wrong, "check its name and its disk") from error
    except MemoryError as error:
        fix = "crop it, or leave the subject out with dataset.exclude"
        raise FileError(path, "needs more memory than is free", fix) from error
    except _UNREADABLE as error:
        wrong = f"is not a valid NIfTI file ({_first_line(error)})"
        raise FileError(path, wrong, "convert it to .nii.gz again from its source") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _check_is_file(path: Path) -> None:
    """Raise FileError for a path where there is no file, and for a folder or device."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        if path.is_symlink():
            wrong = "is a link to a file that does not exist"
            raise FileError(path, wrong, "fetch its content") from error
        raise FileError(path, "does not exist", "check the path") from error
    if not stat.S_ISREG(mode):
        raise FileError(path, "is not a file", "name a NIfTI file (.nii or .nii.gz)")
