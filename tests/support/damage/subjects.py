"""The kinds of damage to a subject."""

from __future__ import annotations

import numpy as np

from tests.support.damage.kinds import Accepted, Rejected
from tests.support.damage.of_subjects import (
    IMAGE,
    ROI,
    SubjectKind,
    codes,
    of_the_other,
    put,
    scaled,
    shifted,
    swapped,
    truncated,
    turned,
    whole,
    without,
)
from tests.support.damage.of_subjects import MASK as M
from tests.support.makers import SHAPE, ball, scan

CODED = {"targets": {"gm": {"values": [1]}}}
REGRID = {"on_grid_mismatch": "resample"}
CHOOSE = Rejected(
    "it is not a soft mask between 0 and 1", "choose the codes with dataset.targets.gm"
)
NO_MASK = Rejected(
    "it is not a soft mask between 0 and 1", "check that it is the mask of gm, not a scan"
)
ELSEWHERE = Rejected("mm away from", "fix its affine", "dataset.on_grid_mismatch: resample")
SHAPED = Rejected("has the shape", "dataset.on_grid_mismatch: resample")
SOFT = ball()


def _is(mask):
    return lambda sample: np.allclose(sample.target[0], mask, atol=1e-4)


def _same_binary(sample):
    return set(np.unique(sample.target).tolist()) == {0, 1} and sample.soft["files"][0] == 0


def _both(rng, folder):
    truncated(M)(rng, folder)
    put(ROI, lambda rng: np.full(SHAPE, np.nan, np.float32))(rng, folder)


def _loop(rng, folder):
    (folder / "again").symlink_to(folder)
    (folder / "up").symlink_to(folder.parent)


KINDS = (
    SubjectKind("a mask of 0 and 255", put(M, lambda _: 255 * ball(soft=False)), CHOOSE),
    SubjectKind("a mask of codes", put(M, codes(4)), CHOOSE),
    SubjectKind("a mask below 0", put(M, lambda _: -SOFT), NO_MASK),
    SubjectKind("a mask a little above 1", put(M, lambda _: SOFT * 1.0009), Accepted("clipped"),
                holds=lambda sample: sample.target.max() == 1),
    SubjectKind("a scan as mask", put(M, lambda _: scan(9)), NO_MASK),
    SubjectKind("scan and mask swapped", swapped, NO_MASK),
    SubjectKind("integers whose slope makes 0.99999994 of 1", scaled, Accepted("not soft"),
                holds=lambda sample: sample.soft["files"][0] == 0),
    SubjectKind("the same with codes", scaled, Accepted("exactly 1"), holds=_same_binary,
                keys=CODED),
    SubjectKind("fractions where codes were chosen", put(M, lambda _: SOFT),
                Rejected("fractions", "remove dataset.targets.gm.values"), keys=CODED),
    SubjectKind("codes of which none was chosen", put(M, lambda _: 2 * ball(soft=False)),
                Accepted("empty"), holds=_is(0), warned="empty mask", keys=CODED),
    SubjectKind("an empty mask", put(M, whole(0)), Accepted("as it is"), holds=_is(0),
                warned="empty mask"),
    SubjectKind("a full mask", put(M, whole(1)), Accepted("as it is"), holds=_is(1)),
    SubjectKind("a mask of NaN", put(M, whole(np.nan)), Rejected("NaN", "dataset.exclude")),
    SubjectKind("a mask cut short", truncated(M), Rejected("truncated", "download it again")),
    SubjectKind("a mask of two volumes", put(M, lambda _: np.stack([SOFT, SOFT], 3)),
                Rejected("2 frames", "save one frame")),
    SubjectKind("a mask of one slice", put(M, lambda _: SOFT[..., 0]), SHAPED),
    SubjectKind("a mask of another shape", put(M, lambda _: ball((7, 6, 5))), SHAPED),
    SubjectKind("a mask somewhere else", put(M, lambda _: SOFT, shifted(5, 99)), ELSEWHERE),
    SubjectKind("a mask turned round", put(M, lambda _: SOFT[::-1], turned), ELSEWHERE),
    SubjectKind("a mask turned round, resampled", put(M, lambda _: SOFT[::-1], turned),
                Accepted("turned back"), holds=_is(SOFT), warned="another grid", keys=REGRID),
    SubjectKind("a mask without a place", put(M, lambda _: SOFT, codes=(0, 0)), ELSEWHERE),
    SubjectKind("a mask wholly beside the scan, resampled",
                put(M, lambda _: SOFT, shifted(900, 9999)),
                Rejected("does not overlap", "check that it is the right file"), keys=REGRID),
    SubjectKind("the mask of another subject", of_the_other(M),
                Accepted("nothing tells, if it lies in the same place"),
                warned="same mask for two subjects"),
    SubjectKind("the scan of another subject", of_the_other(IMAGE),
                Accepted("nothing tells, if it lies in the same place"),
                warned="same image content"),
    SubjectKind("a constant scan", put(IMAGE, whole(7)), Accepted("as it is"), at=IMAGE,
                warned="constant image"),
    SubjectKind("a scan cut short", truncated(IMAGE), Rejected("truncated"), at=IMAGE),
    SubjectKind("a label for a missing scan", without(IMAGE), Rejected("no T1w image"), at=None),
    SubjectKind("a scan without its label", without(M), Rejected("no mask of gm"), at=None),
    SubjectKind("a mask that is a folder", without(M, lambda path: path.mkdir()),
                Rejected("is not a file")),
    SubjectKind("a mask that was not fetched", without(M, lambda path: path.symlink_to("x")),
                Rejected("is a link to a file that does not exist", "fetch its content")),
    SubjectKind("a mask that is a link to itself", without(M, lambda path: path.symlink_to(path)),
                Rejected("is a link to a file that does not exist")),
    SubjectKind("folders that are links in a circle", _loop, Accepted("not followed"),
                holds=lambda sample: sample.image.shape == (1, *SHAPE)),
    SubjectKind("mask and region both bad", _both, Rejected("truncated")),
    SubjectKind("a region drawn with codes", put(ROI, codes(3)), Accepted("clipped to 1"), at=ROI,
                holds=lambda sample: set(np.unique(sample.roi)) == {0, 1}),
    SubjectKind("a region somewhere else", put(ROI, lambda _: SOFT, shifted(5, 99)), ELSEWHERE,
                at=ROI),
    SubjectKind("an empty region", put(ROI, whole(0)), Accepted("as it is"), at=ROI,
                warned="empty mask"),
)  # fmt: skip
