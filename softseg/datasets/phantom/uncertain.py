"""Slices with an uncertain truth of known probability, for which a loss's bias can be computed.

Next to a part that is always foreground there is an uncertain region of K equal parts, each of
which is foreground with probability p, sampled for every slice: the example with which Bertels et
al. 2021 (arXiv 2211.04161) show the volume bias of the soft Dice. The region's brightness depends
on p only, not on what was sampled. All slices have one geometry, with whole voxels only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from softseg.core.files import write_atomically
from softseg.datasets.phantom.scanner import save_nifti

PROBABILITIES = (0.1, 0.3, 0.4, 0.45, 0.55, 0.6, 0.7, 0.9)
"""That a part is foreground; a subject has one of them, eight subjects in turn have all."""

SHAPE = (24, 24, 128)
"""Voxels of a scan; every slice along the third axis is sampled independently."""
SIDE = 8
"""Side of the certain square, voxels; the uncertain parts together have the same area: v = 1."""
GAP = 2
"""Voxels between two uncertain parts."""
CENTERS = ((6, 12), (18, 12))
"""Of the certain and the uncertain region, voxels."""

BACKGROUND, CERTAIN, DARKEST, STEP, NOISE = 100, 1000, 300, 80, 10
"""Intensities: the uncertain region has DARKEST + STEP n at the n-th probability (from 0)."""
MAX_SUBJECTS = 999  # three digits
TABLE = "participants.tsv"
COLUMNS = ("subject", "round", "probability", "parts", "relative_volume")

FILES = """
sNNN-image.nii.gz   int16: a bright square and, next to it, an uncertain region of {parts} equal
                    part(s)
sNNN-mask.nii.gz    uint8: 1 in the square, and in each uncertain part with probability p
sNNN-region.nii.gz  uint8: 1 the square, 2 and above the uncertain parts
participants.tsv    round (of eight subjects, one of each p), probability (p), parts (K),
                    relative_volume (v: the uncertain region's area / the square's)

128 slices of 24 x 24 voxels of 1 mm, each sampled independently. p is 0.1, 0.3, 0.4, 0.45, 0.55,
0.6, 0.7 or 0.9, one for each subject; the larger it is, the brighter is the uncertain region. Which
parts are foreground cannot be seen. For measuring the bias of predicted volumes, which has a closed
form.
"""
"""What the README says about the files."""


@dataclass(frozen=True, eq=False)
class UncertainSubject:
    """One synthetic scan; volumes are (X, Y, Z)."""

    probability: float
    """p, that an uncertain part of a slice is foreground"""
    image: NDArray[np.int16]
    mask: NDArray[np.uint8]
    region: NDArray[np.uint8]
    """0 background, 1 certain, 2 to K + 1 the uncertain parts"""


def region_map(parts: int) -> NDArray[np.uint8]:
    """Return the geometry of every slice, (X, Y): 0 background, 1 certain, from 2 uncertain.

    `parts` is a square number with a root that divides SIDE; the parts are arranged in a square.
    """
    codes = np.zeros(SHAPE[:2], np.uint8)
    rows = math.isqrt(parts)
    codes[_squares(CENTERS[0], 1)[0]] = 1
    for code, square in enumerate(_squares(CENTERS[1], rows), start=2):
        codes[square] = code
    return codes


def _squares(center: tuple[int, int], rows: int) -> list[tuple[slice, slice]]:
    """Return `rows` x `rows` equal squares about a point, SIDE x SIDE voxels together."""
    side = SIDE // rows
    reach = (SIDE + (rows - 1) * GAP) // 2
    starts = [[middle - reach + n * (side + GAP) for n in range(rows)] for middle in center]
    return [(slice(x, x + side), slice(y, y + side)) for x in starts[0] for y in starts[1]]


def make_subject(number: int, parts: int, seed: int) -> UncertainSubject:
    """Return subject `number` (from 1), determined by number, parts and seed."""
    rng = np.random.default_rng([seed, 2021, parts, number])
    level = (number - 1) % len(PROBABILITIES)
    codes = region_map(parts)
    sampled = rng.random((parts, SHAPE[2])) < PROBABILITIES[level]
    foreground = np.vstack([np.zeros(SHAPE[2], bool), np.ones(SHAPE[2], bool), sampled])
    mask = foreground[codes].astype(np.uint8)
    intensity = np.array([BACKGROUND, CERTAIN, *[DARKEST + STEP * level] * parts])[codes]
    image = np.rint(rng.normal(intensity[..., None], NOISE, SHAPE)).astype(np.int16)
    region = np.repeat(codes[..., None], SHAPE[2], axis=2)
    return UncertainSubject(PROBABILITIES[level], image, mask, region)


def write_uncertain(parts: int, folder: Path, subjects: int, seed: int) -> None:
    """Write `subjects` subjects, with the probabilities in turn, and their table into `folder`."""
    lines = ["\t".join(COLUMNS)]
    for number in range(1, subjects + 1):
        subject, name = make_subject(number, parts, seed), f"s{number:03d}"
        for what in ("image", "mask", "region"):
            save_nifti(folder / f"{name}-{what}.nii.gz", getattr(subject, what), np.eye(4))
        turn = (number - 1) // len(PROBABILITIES) + 1
        lines.append(f"{name}\t{turn}\t{subject.probability}\t{parts}\t1")
    write_atomically(folder / TABLE, "\n".join(lines) + "\n")
