"""Write a phantom: NIfTI files with every byte determined, in a folder, all or nothing."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib

from softseg.core.errors import UserError
from softseg.core.types import AnyArray, Float64Array


def save_nifti(path: Path, data: AnyArray, affine: Float64Array) -> None:
    """Write `data` (X, Y, Z), in its own dtype, as .nii.gz without time stamp or file name."""
    image = nib.Nifti1Image(data, affine)
    image.set_qform(affine, code="scanner")
    image.set_sform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"softseg phantom: synthetic, no patient"
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, fileobj=raw, mtime=0) as packed:
        packed.write(image.to_bytes())


@contextmanager
def complete_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to write into, which gets the name `folder` once everything is written.

    Raises `UserError` if `folder` contains anything already; an empty one is replaced.
    """
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: name a new folder for the phantom")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(
            f"{folder} already contains files: name a new or an empty folder for the phantom, "
            "or delete that one"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        partial = Path(scratch) / "unfinished"  # mkdir, for the permissions the user expects
        partial.mkdir()
        yield partial
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
