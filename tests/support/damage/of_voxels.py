"""Damage to voxels and to header extensions."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from tests.support.damage.draft import Draft, Rng, with_draft
from tests.support.damage.kinds import Accepted, Kind, Rejected, Write

NOT_FINITE = Rejected("voxels are NaN or infinite", "dataset.exclude")
UNREAD = Accepted("extensions are not read")


def some(value: float, share: float, dtype: str = "f4") -> Write:
    """A share of the voxels, at least one, holds a value."""

    def damage(rng: Rng, draft: Draft) -> None:
        count = max(1, int(share * draft.voxels.size))
        places = rng.choice(draft.voxels.size, count, replace=False)
        with np.errstate(over="ignore"):
            draft.voxels.reshape(-1)[places] = value

    return with_draft(damage, dtype=dtype)


def every(value: float, dtype: str) -> Write:
    def damage(rng: Rng, draft: Draft) -> None:
        draft.voxels[...] = value

    return with_draft(damage, dtype=dtype)


def wide(dtype: str) -> Write:
    """Integers of 64 bits over their whole range."""

    def damage(rng: Rng, draft: Draft) -> None:
        info = np.iinfo(dtype)
        shape = draft.voxels.shape
        draft.voxels = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
        draft.header["scl_slope"], draft.scaling = 0, (1, 0)

    return with_draft(damage, dtype=dtype)


def extended(size: Any, code: int = 6, held: int = 32) -> Write:
    """Return a writer of a header extension of `held` bytes that declares `size`."""

    def damage(rng: Rng, draft: Draft) -> None:
        declared = size(rng) if callable(size) else size
        order = draft.header.endianness
        draft.between = struct.pack(order + "4bii", 1, 0, 0, 0, declared, code) + rng.bytes(
            held - 8
        )
        draft.header["vox_offset"] += held

    return with_draft(damage)


KINDS = (
    Kind("a voxel of NaN", some(np.nan, 0), NOT_FINITE),
    Kind("many voxels of NaN", some(np.nan, 0.4), NOT_FINITE),
    Kind("all voxels NaN", every(np.nan, "f8"), NOT_FINITE),
    Kind("an infinite voxel", some(np.inf, 0), NOT_FINITE),
    Kind("voxels of minus infinity", some(-np.inf, 0.1, "f8"), NOT_FINITE),
    Kind("a voxel beyond float32", some(1e300, 0, "f8"), NOT_FINITE),
    Kind("voxels too small for float32", some(1e-300, 0.2, "f8"), Accepted("as 0")),
    Kind("the largest float32", some(3.4e38, 0.1), Accepted("as they are")),
    Kind("a constant image", every(7, "i2"), Accepted("as it is; `data check` warns")),
    Kind("an image of zeros", every(0, "u1"), Accepted("as it is; `data check` warns")),
    Kind("signed integers of 64 bits", wide("i8"), Accepted("rounded to float32")),
    Kind("unsigned integers of 64 bits", wide("u8"), Accepted("rounded to float32")),
    Kind("a sound extension", extended(32), UNREAD),
    Kind("an extension of 0 bytes", extended(0), UNREAD),
    Kind("an extension of negative size", extended(lambda r: -r.integers(1, 2**31)), UNREAD),
    Kind("an extension larger than the file", extended(2**31 - 16), UNREAD),
    Kind("an extension of odd size", extended(lambda r: 16 * r.integers(3) + 5), UNREAD),
    Kind("an extension said to be DICOM", extended(32, code=2), UNREAD),
    Kind("an extension of unknown code", extended(32, code=-7), UNREAD),
)  # fmt: skip
