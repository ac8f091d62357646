"""A valid NIfTI file in parts, so that a kind of damage can change one of them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from tests.support.damage.kinds import Made, Write
from tests.support.makers import oblique

DTYPES = ("u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8")
Rng = np.random.Generator
Bytes = Callable[[Rng, bytes], bytes]


@dataclass
class Draft:
    """Header (of either NIfTI version and byte order, unchecked), voxels and compression."""

    header: Any
    voxels: NDArray[Any]
    """As stored, before slope and intercept."""
    packed: bool
    between: bytes = bytes(4)
    """Bytes between header and voxels: four bytes, then extensions."""
    scaling: tuple[float, float] = (1.0, 0.0)
    """Slope and intercept that a correct reader uses."""
    affine: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))

    def content(self) -> bytes:
        """Return the file before compression."""
        stored = self.voxels.astype(self.voxels.dtype.newbyteorder(self.header.endianness))
        return self.header.binaryblock + self.between + stored.tobytes(order="F")

    def save(self, folder: Path, content: bytes | None = None, name: str = "scan") -> Made:
        """Write the file, or other `content` instead, compressed if it is `packed`."""
        content = self.content() if content is None else content
        path = folder / (f"{name}.nii.gz" if self.packed else f"{name}.nii")
        path.write_bytes(gzip.compress(content, 1) if self.packed else content)
        return self.made(path)

    def made(self, path: Path) -> Made:
        slope, inter = self.scaling
        data = self.voxels.astype(np.float64) * slope + inter
        return Made(path, data.reshape((*data.shape, 1, 1, 1)[:3]), self.affine)


def sound(
    rng: Rng,
    dtype: str | None = None,
    shape: tuple[int, ...] | None = None,
    version: int | None = None,
    packed: bool | None = None,
) -> Draft:
    """Create a valid file with random properties, except the given ones; at least 1.5 kB."""
    dtype = dtype or str(rng.choice(DTYPES))
    shape = shape or tuple(int(n) for n in rng.integers(11, 16, 3))
    version = version or int(rng.integers(1, 3))
    order = str(rng.choice(["<", ">"]))
    header: Any = (nib.Nifti1Header, nib.Nifti2Header)[version - 1](endianness=order)
    header.set_data_shape(shape)
    header.set_data_dtype(np.dtype(dtype))
    header["vox_offset"] = header.single_vox_offset
    voxels = rng.integers(1, 100, shape).astype(dtype)
    draft = Draft(header, voxels, bool(rng.integers(2)) if packed is None else packed)
    scale(draft, rng)
    place(draft, oblique(rng.uniform(0.3, 4, 3), lps=bool(rng.integers(2))))
    return draft


def scale(draft: Draft, rng: Rng) -> None:
    """Give half of the integer files a slope and an intercept."""
    draft.header.set_slope_inter(1, 0)
    if draft.voxels.dtype.kind in "iu" and rng.integers(2):
        slope, inter = rng.uniform(0.5, 2), rng.uniform(-9, 9)
        draft.header.set_slope_inter(slope, inter)
        draft.scaling = draft.header.get_slope_inter()


def place(draft: Draft, affine: NDArray[np.float64]) -> None:
    """Write the same affine into qform and sform; readers use the sform, with its rounding."""
    header, zooms = draft.header, np.linalg.norm(affine[:3, :3], axis=0)
    header["pixdim"][1:4] = zooms
    header.set_qform(affine, 1)
    header.set_sform(affine, 1)
    draft.affine = header.get_sform()


def with_draft(damage: Callable[[Rng, Draft], None], **choices: Any) -> Write:
    """Return a writer that damages a part of the draft before it is saved."""

    def write(rng: Rng, folder: Path) -> Made:
        draft = sound(rng, **choices)
        damage(rng, draft)
        return draft.save(folder)

    return write


def with_fields(version: int | None = None, **values: Any) -> Write:
    """Return a writer whose header has these values."""

    def damage(rng: Rng, draft: Draft) -> None:
        for name, value in values.items():
            draft.header[name] = value(rng) if callable(value) else value

    return with_draft(damage, version=version)


def with_content(damage: Bytes, **choices: Any) -> Write:
    """Return a writer that damages the bytes before compression."""

    def write(rng: Rng, folder: Path) -> Made:
        draft = sound(rng, **choices)
        return draft.save(folder, damage(rng, draft.content()))

    return write


def with_packed(damage: Bytes) -> Write:
    """Return a writer that damages the gzip stream."""

    def write(rng: Rng, folder: Path) -> Made:
        made = sound(rng, packed=True).save(folder)
        made.path.write_bytes(damage(rng, made.path.read_bytes()))
        return made

    return write
