"""Damage to what a header says about where voxels lie and what their numbers mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.support.damage.draft import Draft, Rng, place, sound, with_draft, with_fields
from tests.support.damage.kinds import Accepted, Kind, Made, Rejected, Write
from tests.support.damage.of_header import UNREADABLE
from tests.support.damage.of_shape import entry
from tests.support.makers import oblique

BY_SFORM = Accepted("the sform says where voxels lie")
MEND = "set its sform or qform"


def without_sform(damage: Any = None) -> Write:
    """Placed by the qform alone, which is then damaged."""

    def spoil(rng: Rng, draft: Draft) -> None:
        draft.header["sform_code"] = 0
        draft.affine = draft.header.get_qform()
        if damage is not None:
            damage(rng, draft)

    return with_draft(spoil)


def unplaced(zooms: Any = None) -> Write:
    """Neither qform nor sform."""

    def write(rng: Rng, folder: Path) -> Made:
        draft = sound(rng)
        draft.header["sform_code"] = draft.header["qform_code"] = 0
        if zooms is not None:
            draft.header["pixdim"][1:4] = zooms
        size = draft.header["pixdim"][1:4].astype(float) * (-1, 1, 1)
        half = (np.array(draft.voxels.shape) - 1) / 2
        draft.affine = np.diag([*size, 1.0])
        draft.affine[:3, 3] = -size * half
        return draft.save(folder)

    return write


def _conflict(rng: Rng, draft: Draft) -> None:
    draft.header.set_qform(oblique(rng.uniform(1, 5, 3)), 1)


def _field(name: str, index: Any, value: Any) -> Any:
    def damage(rng: Rng, draft: Draft) -> None:
        draft.header[name][index] = value

    return damage


def _negated(rng: Rng, draft: Draft) -> None:
    draft.header["pixdim"][1:4] *= -1


def _quaternion(*values: float) -> Any:
    def damage(rng: Rng, draft: Draft) -> None:
        for name, value in zip("bcd", values, strict=True):
            draft.header[f"quatern_{name}"] = value

    return damage


def _no_handedness(rng: Rng, draft: Draft) -> None:
    """A handedness of 0 or NaN means 1."""
    place(draft, oblique(rng.uniform(0.3, 4, 3)))
    draft.header["sform_code"] = 0
    draft.affine = draft.header.get_qform()
    draft.header["pixdim"][0] = rng.choice([0, np.nan])


def _flat(rng: Rng, draft: Draft) -> None:
    """Two axes along the same line."""
    one, two = rng.permutation(3)[:2]
    for row in ("srow_x", "srow_y", "srow_z"):
        draft.header[row][one] = 2 * draft.header[row][two]


def _scaled(factor: float, columns: slice) -> Write:
    def damage(rng: Rng, draft: Draft) -> None:
        for row in ("srow_x", "srow_y", "srow_z"):
            draft.header[row][columns] = np.float64(draft.header[row][columns]) * factor

    return with_draft(damage)


def _slope(slope: float, inter: float, read_as: tuple[float, float] = (1, 0)) -> Write:
    def damage(rng: Rng, draft: Draft) -> None:
        draft.header["scl_slope"], draft.header["scl_inter"] = slope, inter
        draft.scaling = read_as

    return with_draft(damage)


KINDS = (
    Kind("sform and qform in conflict", with_draft(_conflict), BY_SFORM),
    Kind("no sform", without_sform(), Accepted("the qform says where voxels lie")),
    Kind("no qform", with_fields(qform_code=0), BY_SFORM),
    Kind("neither sform nor qform", unplaced(), Accepted("centered, with the header's zooms")),
    Kind("neither, and zooms of 0", unplaced(0), Rejected("pixdim")),
    Kind("neither, and zooms of NaN", unplaced(np.nan), Rejected("NaN", MEND)),
    Kind("neither, and infinite zooms", unplaced(np.inf), Rejected("NaN or infinity", MEND)),
    Kind("an unknown sform code", with_fields(sform_code=lambda r: r.integers(6, 999)),
         Rejected("sform_code")),
    Kind("a negative sform code", with_fields(sform_code=-1), Rejected("sform_code")),
    Kind("an unknown qform code", without_sform(lambda _, d: d.header.__setitem__(
         "qform_code", 77)), Rejected("qform_code")),
    Kind("an unknown qform code beside an sform", with_fields(qform_code=77), BY_SFORM),
    Kind("zooms of 0 beside an sform", entry("pixdim", slice(1, 4), 0), BY_SFORM),
    Kind("zooms of NaN beside an sform", entry("pixdim", slice(1, 4), np.nan), BY_SFORM),
    Kind("negative zooms beside an sform", entry("pixdim", slice(1, 4), -2), BY_SFORM),
    Kind("other zooms than the sform's", entry("pixdim", slice(1, 4), 77), BY_SFORM),
    Kind("nonsense in unused zooms", entry("pixdim", slice(4, None), np.nan), BY_SFORM),
    Kind("zooms of 0 in a qform", without_sform(_field("pixdim", slice(1, 4), 0)),
         Rejected("pixdim")),
    Kind("a zoom of 0 in a qform", without_sform(_field("pixdim", 2, 0)), Rejected("pixdim")),
    Kind("zooms of NaN in a qform", without_sform(_field("pixdim", 1, np.nan)),
         Rejected("NaN", MEND)),
    Kind("negative zooms in a qform", without_sform(_negated), Accepted("their size counts")),
    Kind("no handedness", with_draft(_no_handedness), Accepted("as 1, as NIfTI says")),
    Kind("an impossible quaternion", without_sform(_quaternion(0.9, 0.9, 0.9)), UNREADABLE),
    Kind("a quaternion of NaN", without_sform(_quaternion(np.nan, 0, 0)), Rejected("affine")),
    Kind("an infinite quaternion", without_sform(_quaternion(np.inf, 0, 0)),
         Rejected("is not a valid NIfTI file")),
    Kind("a broken quaternion beside an sform", with_draft(_quaternion(9, np.nan, 0)), BY_SFORM),
    Kind("a flat affine", with_draft(_flat), Rejected("singular affine", MEND)),
    Kind("an affine with a row of 0", entry("srow_y", slice(None), 0),
         Rejected("singular affine", MEND)),
    Kind("an affine of 0", with_fields(srow_x=0, srow_y=0, srow_z=0), Rejected("singular", MEND)),
    Kind("an affine with NaN", entry("srow_z", 1, np.nan), Rejected("NaN or infinity", MEND)),
    Kind("an infinite place", entry("srow_x", 3, -np.inf), Rejected("NaN or infinity", MEND)),
    Kind("a place beyond all scanners", entry("srow_x", 3, 1e30), Rejected("1e+30 mm", MEND)),
    Kind("voxels of light years", _scaled(1e19, slice(0, 3)), Rejected("mm", "xyzt_units")),
    Kind("voxels smaller than atoms", _scaled(1e-19, slice(0, 3)), Rejected("mm", "xyzt_units")),
    Kind("a slope of 0", _slope(0, 0), Accepted("unscaled, as NIfTI says")),
    Kind("a slope of 0 with an intercept", _slope(0, 7), Accepted("unscaled, as NIfTI says")),
    Kind("a slope of NaN", _slope(np.nan, np.nan), Accepted("unscaled: nibabel writes it so")),
    Kind("an infinite slope", _slope(np.inf, 0), Rejected("scl_slope")),
    Kind("an intercept of NaN", _slope(2, np.nan), Rejected("scl_inter")),
    Kind("an infinite intercept", _slope(2, -np.inf), Rejected("scl_inter")),
    Kind("a negative slope", _slope(-2, 3, (-2, 3)), Accepted("it is applied")),
    Kind("a slope beyond float32", _slope(3e38, 0), Rejected("NaN or infinite")),
)  # fmt: skip
