"""Damage to what a header says about shape, and numbers of dimensions that are no damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.support.damage.draft import Draft, Rng, sound, with_draft
from tests.support.damage.kinds import Accepted, Kind, Made, Rejected, Write

WIDE = (40, 30, 20)
"""Large enough that one column of voxels is more than padding."""


def entry(name: str, index: Any, value: Any, **choices: Any) -> Write:
    """Return a writer whose header array `name` has `value` at `index`."""

    def damage(rng: Rng, draft: Draft) -> None:
        draft.header[name][index] = value(rng) if callable(value) else value

    return with_draft(damage, **choices)


def stored_as(*more: int, rank: int = 3) -> Write:
    """Voxels of `rank` dimensions, and `more` dimensions after them."""

    def write(rng: Rng, folder: Path) -> Made:
        shape = tuple(int(n) for n in rng.integers(11, 16, rank)) if rank > 1 else (1400,)
        draft = sound(rng, shape=shape, dtype="i2")
        return _as_volumes(draft, more).save(folder)

    return write


def _as_volumes(draft: Draft, more: tuple[int, ...]) -> Draft:
    """The draft with its voxels once for each volume that `more` dimensions make."""
    zooms = draft.header["pixdim"].copy()
    draft.header.set_data_shape((*draft.voxels.shape, *more))
    draft.header["pixdim"] = zooms
    if more and np.prod(more) > 1:
        draft.voxels = np.concatenate([draft.voxels] * int(np.prod(more)), axis=2)
    return draft


def _one_less(rng: Rng, draft: Draft) -> None:
    draft.header["dim"][rng.integers(1, 4)] -= 1


def _more(rng: Rng, draft: Draft) -> None:
    draft.header["dim"][rng.integers(1, 4)] += rng.integers(1, 9)


def _huge(rng: Rng, draft: Draft) -> None:
    largest = np.iinfo(draft.header["dim"].dtype).max
    draft.header["dim"][1:4] = int(largest * rng.uniform(0.5, 1))


def _hundred_gigabytes(rng: Rng, draft: Draft) -> None:
    """1 GiB for each byte of a voxel, and each of 100 to 119."""
    draft.header["dim"][1:4] = (1024, 1024, 1024)
    draft.header["dim"][0] = 4
    draft.header["dim"][4:] = 1
    draft.header["dim"][3] = 1024 * rng.integers(28, 31)


def _any_axis(rng: Rng) -> int:
    return int(rng.integers(1, 4))


def _bad_axis(least: int, most: int) -> Write:
    def damage(rng: Rng, draft: Draft) -> None:
        draft.header["dim"][_any_axis(rng)] = rng.integers(least, most, endpoint=True)

    return with_draft(damage)


def _single_slice_without_thickness(rng: Rng, draft: Draft) -> None:
    """2D tools write no thickness for the third axis."""
    draft.header["pixdim"][3] = 0


CUT = Rejected("is truncated", "copy or download it again")
LONG = Rejected("is longer than its header declares", "convert it again")
KINDS = (
    Kind("no dimensions", entry("dim", 0, 0), Rejected("0 dimensions")),
    Kind("a negative number of dimensions", entry("dim", 0, lambda r: -r.integers(1, 9)),
         Rejected("dimensions")),
    Kind("too many dimensions", entry("dim", 0, lambda r: r.integers(8, 99)),
         Rejected("dimensions")),
    Kind("a dimension of 0", _bad_axis(0, 0), Rejected("has the shape", "at least 1")),
    Kind("a negative dimension", _bad_axis(-99, -2), Rejected("has the shape", "at least 1")),
    Kind("all dimensions 0", entry("dim", slice(1, None), 0), Rejected("has the shape")),
    Kind("huge dimensions", with_draft(_huge), CUT),
    Kind("dimensions of 30 GB and more", with_draft(_hundred_gigabytes), CUT),
    Kind("dimensions larger than the voxels", with_draft(_more), CUT),
    Kind("dimensions smaller than the voxels", with_draft(_one_less, shape=WIDE), LONG),
    Kind("3D said to be 2D", entry("dim", 0, 2), LONG),
    Kind("4D said to be 3D", with_draft(lambda _, d: _hidden(d)), LONG),
    Kind("several volumes", stored_as(3), Rejected("3 frames", "save one frame")),
    Kind("a vector a voxel", stored_as(1, 3), Rejected("3 frames", "save one frame")),
    Kind("a matrix a voxel", stored_as(1, 2, 3), Rejected("6 frames", "save one frame")),
    Kind("one dimension", stored_as(rank=1), Accepted("a row of voxels (X, 1, 1)")),
    Kind("two dimensions", stored_as(rank=2), Accepted("one slice (X, Y, 1)")),
    Kind("one slice without thickness",
         with_draft(_single_slice_without_thickness, shape=(40, 40, 1)),
         Accepted("the sform's thickness")),
    Kind("4D of one volume", stored_as(1), Accepted("that volume")),
    Kind("5D of one volume", stored_as(1, 1), Accepted("that volume")),
    Kind("7D of one volume", stored_as(1, 1, 1, 1), Accepted("that volume")),
    Kind("a single voxel", with_draft(lambda *_: None, shape=(1, 1, 1)), Accepted("as it is")),
    Kind("nonsense in unused dimensions", entry("dim", slice(4, None), lambda r: r.integers(-9, 9)),
         Accepted("not looked at")),
)  # fmt: skip


def _hidden(draft: Draft) -> None:
    _as_volumes(draft, (5,))
    draft.header["dim"][0] = 3
