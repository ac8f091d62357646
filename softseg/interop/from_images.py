"""`softseg convert images`: grayscale PNG and TIFF images and masks as NIfTI files (X, Y, 1)."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from softseg.core.errors import UserError, combined_error
from softseg.core.files import check_new_folder, shared_files, write_atomically
from softseg.core.names import natural_key
from softseg.data.nifti.io import nifti_bytes

if TYPE_CHECKING:
    from rich.console import Console

_ENDINGS = (".png", ".tif", ".tiff")
_MASK_NAMES = ("mask", "masks", "seg", "segs", "label", "labels", "gt", "roi")
_LARGEST_CODE = 31  # whole numbers from 0 to this are codes; soft masks have values up to 255
_MICRON_BELOW = 0.01  # mm: smaller pixels are written in microns
_COLOR = ("P", "RGB", "RGBA")


@dataclass(frozen=True, eq=False)
class Converted:
    """One image or mask, ready to be written."""

    source: Path
    path: Path
    kind: str
    """image, binary mask, soft mask, or mask of codes."""
    data: NDArray[Any]
    """(X, Y, 1), X from left to right and Y from top to bottom: uint8 for masks of 0 and 1 or of
    codes, float32 in [0, 1] for soft masks, the type of the file for images."""


def convert_images(
    folder: Path, out: Path, pixel_mm: Sequence[float], overwrite: bool = False
) -> list[Converted]:
    """Write each PNG or TIFF file in a folder and its subfolders as NIfTI, below `out`.

    A file is a mask if it holds only 0 and 255, or if its name or that of its folder has a part
    such as mask, seg or label (`cell1_mask.png`, `masks/cell1.png`). A mask of 0 and 255 becomes 0
    and 1. One whose values are at most 31 holds codes, which stay. Any other is soft, and is
    divided by 255 (of 16 bits: 65535).

    `pixel_mm` has the size of a pixel in mm, along X and Y. Returns what was written. Raises
    UserError, with all problems and before anything is written, for a folder without such files,
    for color images, for files of several pages or that cannot be read, and for files that exist,
    unless `overwrite`.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    check_new_folder(out)
    files = [path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS]
    files = sorted((path for path in files if path.is_file()), key=lambda p: natural_key(str(p)))
    if not files:
        raise UserError(f"{folder}: holds no PNG or TIFF file")
    problems: list[str] = []
    converted = []
    for source in files:
        path = (out / source.relative_to(folder)).with_suffix(".nii.gz")
        if path.exists() and not overwrite:
            problems.append(f"{path} exists already: choose another --out, or add --overwrite")
        try:
            kind, data = _as_mask_or_image(source.relative_to(folder), read_pixels(source))
            converted.append(Converted(source, path, kind, data))
        except UserError as error:
            problems.append(str(error))
    problems += shared_files(((one.path, str(one.source)) for one in converted), out)
    if problems:
        raise combined_error(f"{folder} cannot be converted:", problems)
    for one in converted:
        one.path.parent.mkdir(parents=True, exist_ok=True)
        _write(one, pixel_mm)
    return converted


def show(converted: Sequence[Converted], out: Path, console: Console) -> None:
    """Print how many files of each kind were written, and what follows."""
    counts = Counter(one.kind for one in converted)
    kinds = {"image": "image(s)", "binary mask": "binary mask(s) (255 became 1)"}
    kinds |= {"soft mask": "soft mask(s) (divided by their largest possible value)"}
    kinds |= {"mask of codes": "mask(s) of codes (unchanged)"}
    lines = [f"{count} {kinds[kind]}" for kind, count in counts.items()]
    lines += [f"wrote {len(converted)} files below {out}: (X, Y, 1), for slices.axis: axial"]
    console.print("\n".join(lines), highlight=False, markup=False)


def read_pixels(path: Path) -> NDArray[Any]:
    """Return the gray values (rows, columns) of a file. Raises UserError for anything else."""
    try:
        with Image.open(path) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise UserError(f"{path}: has several pages; save each as a file")
            if image.mode in _COLOR:
                channels = np.asarray(image.convert("RGB"))
                if (channels != channels[..., :1]).any():
                    raise UserError(f"{path}: is a color image; save it in gray")
                return channels[..., 0]
            return np.asarray(image.convert("L") if image.mode == "LA" else image)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read as an image ({error}); save it again") from error


def _as_mask_or_image(name: Path, pixels: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """Return what a file holds, and its voxels (X, Y, 1). Raises UserError for unusable pixels."""
    data = _as_voxels(name, pixels)
    parts = re.split(r"[_\-. ]+", f"{name.parent.name}_{name.stem}".lower())
    if not _is_binary(data) and not set(parts) & set(_MASK_NAMES):
        return "image", data
    return as_mask(name, pixels)


def as_mask(name: Path, pixels: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """Return which kind of mask gray values (rows, columns) are, and its voxels (X, Y, 1).

    Binary masks are 0 and 1, soft ones in [0, 1], and codes stay. Raises UserError for other
    values.
    """
    data = _as_voxels(name, pixels)
    largest = data.max()
    if _is_binary(data):
        return "binary mask", (data > 0).astype(np.uint8)
    if np.issubdtype(data.dtype, np.integer) and data.min() >= 0 and largest <= 65535:
        if largest <= _LARGEST_CODE:
            return "mask of codes", data.astype(np.uint8)
        return "soft mask", (data / (255 if largest <= 255 else 65535)).astype(np.float32)
    if data.min() >= 0 and largest <= 1:  # a TIFF file of float32
        return "soft mask", data.astype(np.float32)
    raise UserError(
        f"{name}: is a mask by its name, but has values from {data.min():g} to {largest:g}; save "
        "it with 0 to 255, or rename it"
    )


def _as_voxels(name: Path, pixels: NDArray[Any]) -> NDArray[Any]:
    """Return gray values (rows, columns) as voxels (X, Y, 1). Raises UserError for other shapes."""
    if pixels.ndim != 2:
        raise UserError(f"{name}: has {pixels.ndim} dimensions; save it as a gray image")
    return np.ascontiguousarray(pixels.T[..., None])


def _is_binary(data: NDArray[Any]) -> bool:
    return bool(data.dtype == bool or np.isin(data, (0, 255)).all())


def _write(converted: Converted, pixel_mm: Sequence[float]) -> None:
    """Write a file whose X runs to the left and Y to the back, as most viewers show it upright."""
    x, y = pixel_mm
    unit, scale = ("micron", 1000.0) if min(x, y) < _MICRON_BELOW else ("mm", 1.0)
    affine = np.diag([-x * scale, -y * scale, max(x, y) * scale, 1.0])
    data = converted.data.astype(np.int32) if converted.data.dtype == np.int64 else converted.data
    write_atomically(converted.path, gzip.compress(nifti_bytes(data, affine, unit), mtime=0))
