"""Damage to the files of a subject: its scan, mask and region of interest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from softseg.data.sample import Sample
from tests.support.damage.draft import Rng
from tests.support.damage.kinds import Accepted, Rejected
from tests.support.makers import SHAPE, ball, nifti, oblique, scan

IMAGE, MASK, ROI = "T1w.nii.gz", "gm.nii.gz", "roi.nii.gz"
Holds = Callable[[Sample], bool]


@dataclass(frozen=True)
class SubjectKind:
    """One problem of subject `b`; subject `a` is valid and has another scan."""

    name: str
    spoil: Callable[[Rng, Path], object]
    """Damages the folder of `b`, which has a valid scan, soft mask and ROI."""
    outcome: Accepted | Rejected
    at: str | None = MASK
    """The file that is rejected; None: the subject, since a file is missing."""
    holds: Holds = lambda sample: True
    """A condition that the loaded subject must meet."""
    warned: str = ""
    """The kind of finding that `data check` reports."""
    keys: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the dataset."""

    def __str__(self) -> str:
        return self.name


def lay(folder: Path, seed: int, affine: Any) -> None:
    nifti(folder / IMAGE, scan(seed), affine)
    nifti(folder / MASK, ball() * np.float32(1 - 0.01 * seed), affine)
    nifti(folder / ROI, ball(soft=False), affine)


def affine_of(folder: Path) -> Any:
    return nib.load(folder.parent / "a" / IMAGE).affine


def put(name: str, make: Callable[[Rng], Any], affine: Any = None, **more: Any) -> Any:
    """Return a function that writes other voxels and, with `affine`, another affine."""

    def spoil(rng: Rng, folder: Path) -> None:
        own = affine_of(folder)
        (folder / name).unlink()
        nifti(folder / name, make(rng), own if affine is None else affine(own, rng), **more)

    return spoil


def whole(value: float) -> Any:
    return lambda rng: np.full(SHAPE, value, np.float32)


def codes(most: int) -> Any:
    return lambda rng: rng.integers(0, most, SHAPE, endpoint=True).astype(np.uint8)


def scaled(rng: Rng, folder: Path) -> None:
    """Write integers with a slope that turns 1 into 0.99999994, the next lower float32."""
    path = put_mask(rng, folder)
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([np.nextafter(np.float32(1), np.float32(0)), 0], "<f4").tobytes()
    path.write_bytes(content)


def put_mask(rng: Rng, folder: Path) -> Path:
    (folder / MASK).unlink()
    return nifti(folder / "gm.nii", ball(soft=False), affine_of(folder), dtype=np.uint8)


def shifted(least: float, most: float) -> Any:
    """Moved so many mm along an axis."""

    def move(affine: Any, rng: Rng) -> Any:
        moved = affine.copy()
        moved[rng.integers(3), 3] += rng.uniform(least, most) * rng.choice([-1, 1])
        return moved

    return move


def turned(affine: Any, rng: Rng) -> Any:
    """The first axis the other way, in the same place."""
    other = affine.copy()
    other[:3, 3] += other[:3, 0] * (SHAPE[0] - 1)
    other[:3, 0] *= -1
    return other


def truncated(name: str) -> Any:
    def spoil(rng: Rng, folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * rng.uniform(0.1, 0.9))])

    return spoil


def without(name: str, then: Callable[[Path], object] = lambda path: None) -> Any:
    def spoil(rng: Rng, folder: Path) -> None:
        (folder / name).unlink()
        then(folder / name)

    return spoil


def of_the_other(name: str) -> Any:
    return lambda rng, folder: (folder / name).write_bytes(
        (folder.parent / "a" / name).read_bytes()
    )


def swapped(rng: Rng, folder: Path) -> None:
    (folder / IMAGE).rename(folder / "x")
    (folder / MASK).rename(folder / IMAGE)
    (folder / "x").rename(folder / MASK)


def new_affine(rng: Rng) -> Any:
    return oblique(rng.uniform(0.5, 2, 3))
