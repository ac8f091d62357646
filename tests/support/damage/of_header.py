"""Damage to what a header says about itself, the type of its voxels, their place and scaling."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support.damage.draft import Draft, Rng, sound, with_content, with_draft, with_fields
from tests.support.damage.kinds import Accepted, Kind, Made, Rejected
from tests.support.damage.of_shape import CUT, LONG

AS_IT_IS = Accepted("not looked at")
UNREADABLE = Rejected("is not a valid NIfTI file", "convert it to .nii.gz again")


def _other_version(rng: Rng, draft: Draft) -> None:
    draft.header["sizeof_hdr"] = 888 - draft.header.sizeof_hdr


def _shift(rng: Rng, draft: Draft) -> None:
    """Said to begin later than they do."""
    draft.header["vox_offset"] += 16 * rng.integers(1, 999)


def _gap(rng: Rng, draft: Draft) -> None:
    more = 16 * int(rng.integers(1, 99))
    draft.header["vox_offset"] += more
    draft.between += rng.bytes(more)
    draft.between = bytes(4) + draft.between[4:]


def _low(rng: Rng, draft: Draft) -> None:
    draft.header["vox_offset"] = rng.integers(1, 22) * 16


def _cut(rng: Rng, content: bytes) -> bytes:
    return content[: rng.integers(5, 348)]


def _end(length: int):
    def damage(rng: Rng, content: bytes) -> bytes:
        return content + rng.bytes(length)

    return damage


def _drop(rng: Rng, content: bytes) -> bytes:
    return content[: -rng.integers(1, 1300)]


def _type(rng: Rng, draft: Draft, code: int) -> None:
    draft.header["datatype"] = code


def _exotic(dtype: str):
    """Voxels of a type that is no real number, truly stored."""

    def write(rng: Rng, folder: Path) -> Made:
        draft = sound(rng, dtype="u1")
        kind = {"rgb": [(c, "u1") for c in "RGB"], "rgba": [(c, "u1") for c in "RGBA"]}
        draft.header.set_data_dtype(np.dtype(kind.get(dtype, dtype)))
        size = draft.header.get_data_dtype().itemsize
        return draft.save(folder, draft.content() + bytes((size - 1) * draft.voxels.size))

    return write


def _signed(rng: Rng, draft: Draft) -> None:
    """Of the same size: nothing tells that the bytes meant something else."""
    draft.header["datatype"] = 512  # uint16
    draft.voxels[0, 0, 0] = -5
    draft.voxels = draft.voxels.view("u2")


KINDS = (
    Kind("a wrong magic", with_fields(magic=lambda r: r.bytes(4)), UNREADABLE),
    Kind("the magic of a pair", with_fields(version=1, magic=b"ni1"), Rejected("a pair")),
    Kind("the magic of a NIfTI-2 pair", with_fields(version=2, magic=b"ni2"), Rejected("a pair")),
    Kind("an Analyze header", with_fields(version=1, magic=b""), UNREADABLE),
    Kind("a wrong size of the header", with_fields(version=1, sizeof_hdr=lambda r: r.integers(99)),
         Accepted("its magic and dimensions tell what it is")),
    Kind("the other version's size", with_draft(_other_version), UNREADABLE),
    Kind("broken line ends", with_fields(version=2, eol_check=[10, 10, 26, 10]), UNREADABLE),
    Kind("line ends not filled in", with_fields(version=2, eol_check=0), AS_IT_IS),
    Kind("an empty file", with_content(lambda *_: b""), Rejected("is truncated")),
    Kind("a header that ends early", with_content(_cut), Rejected("is truncated")),
    Kind("a header alone", with_content(lambda _, c: c[:348], version=1), CUT),
    Kind("a NIfTI-2 header alone", with_content(lambda _, c: c[:540], version=2), CUT),
    Kind("voxels that end early", with_content(_drop), CUT),
    Kind("padding of less than a block", with_content(_end(511)), Accepted("left out")),
    Kind("more than padding", with_content(_end(4000)), LONG),
    Kind("the voxels twice", with_content(lambda _, c: c + c), LONG),
    Kind("no datatype", with_fields(datatype=0), UNREADABLE),
    Kind("the datatype bit", with_fields(datatype=1), UNREADABLE),
    Kind("an unknown datatype", with_fields(datatype=lambda r: r.integers(3000, 9999)), UNREADABLE),
    Kind("a larger datatype than stored", with_draft(lambda r, d: _type(r, d, 64), dtype="f4"),
         CUT),
    Kind("a smaller datatype than stored", with_draft(lambda r, d: _type(r, d, 2), dtype="i2"),
         LONG),
    Kind("a datatype of the same size", with_draft(_signed, dtype="i2"),
         Accepted("as the header says")),
    Kind("a wrong bitpix", with_fields(bitpix=lambda r: r.integers(1000)),
         Accepted("the datatype says it, too")),
    Kind("complex voxels", _exotic("c8"), Rejected("complex", "one real number")),
    Kind("colors", _exotic("rgb"), Rejected("color", "one real number")),
    Kind("colors with transparency", _exotic("rgba"), Rejected("color", "one real number")),
    Kind("no offset", with_fields(vox_offset=0), Rejected("vox_offset")),
    Kind("an offset in the header", with_draft(_low), UNREADABLE),
    Kind("a negative offset", with_fields(vox_offset=lambda r: -r.integers(999)), UNREADABLE),
    Kind("an offset of NaN", with_fields(version=1, vox_offset=np.nan), Rejected("vox_offset")),
    Kind("an infinite offset", with_fields(version=1, vox_offset=np.inf), Rejected("vox_offset")),
    Kind("an offset too large", with_draft(_shift), CUT),
    Kind("an offset far beyond", with_fields(vox_offset=2**60), CUT),
    Kind("a gap before the voxels", with_draft(_gap), Accepted("the offset is right")),
    Kind("text that is no text", with_fields(descrip=b"\xff\xfe\x1b[31m", aux_file=b"\x80",
         intent_name=b"\xc3\x28"), AS_IT_IS),
    Kind("display limits of NaN", with_fields(cal_max=np.nan, cal_min=-np.inf), AS_IT_IS),
    Kind("unknown intent, units and slice order", with_fields(intent_code=30000, xyzt_units=255,
         slice_code=99, dim_info=255), AS_IT_IS),
)  # fmt: skip
