"""Multiple sclerosis lesions of a brain: where they lie, how large they are, what they cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from softseg.core.types import BoolArray, FloatArray
from softseg.datasets.phantom.blob import Blob, draw_blob
from softseg.datasets.phantom.brain import Brain
from softseg.datasets.phantom.partial_volume import BOX, Coverage
from softseg.datasets.phantom.volume import Box, cover_box

COUNT = (5, 40)
"""Fewest and most lesions of a patient."""

VOXELS = (3, 3000)
"""Fewest and most voxels of a lesion."""

VOLUMES = (9.0, 1800.0)
"""Smallest and largest lesion, mm3; small ones are more frequent, but one is above 127."""

DOUBTS = (3, 10)
"""Fewest and most faint spots that are no lesions, though some raters take them for one."""

GAP = 2.0
"""Lesions are at least so many mm apart."""

MARGIN = 3.0
"""Depth is known in the box that holds everything within so many mm of a lesion."""


@dataclass(frozen=True)
class Lesion:
    """One lesion, or what might be taken for one."""

    blob: Blob
    real: bool
    enhancing: bool
    """whether it takes up contrast agent"""
    beside: bool
    """whether it lies at a ventricle, as many do"""


@dataclass(frozen=True, eq=False)
class Findings:
    """The lesions of one patient on the scan's grid; arrays (X, Y, Z)."""

    lesions: tuple[Lesion, ...]
    fractions: FloatArray
    """share of the voxel that is lesion or faint spot, [0, 1]"""
    level: FloatArray
    """depth in mm in the nearest of them, at least -BOX"""
    number: NDArray[np.int_]
    """the nearest one's place in `lesions`; -1 far from all"""

    def share(self, chosen: Sequence[bool]) -> FloatArray:
        """The share of each voxel that the chosen ones fill, `chosen` in the order of `lesions`."""
        return np.asarray(self.fractions * np.append(chosen, False)[self.number])


def find(rng: np.random.Generator, brain: Brain, scan: Box) -> Findings:
    """Draw a patient's lesions and faint spots, and what they cover of the scan."""
    real = round(float(np.exp(rng.uniform(*np.log(COUNT)))))
    doubts = int(rng.integers(*DOUBTS, endpoint=True))
    lesions: list[Lesion] = []
    fractions, level = np.zeros(scan.shape), np.full(scan.shape, -BOX)
    number = np.full(scan.shape, -1)
    while len(lesions) < real + doubts:
        lesion = _draw(rng, scan, real=len(lesions) < real, large=not lesions)
        if not _fits(lesion, brain, lesions):
            continue
        box, part = _covered(lesion, brain, scan)
        if not _is_one(part.fraction >= 0.5):
            continue
        fractions[box.slices] += part.fraction
        nearer = part.level > level[box.slices]
        level[box.slices] = np.where(nearer, part.level, level[box.slices])
        number[box.slices] = np.where(nearer, len(lesions), number[box.slices])
        lesions.append(lesion)
    return Findings(tuple(lesions), fractions, level, number)


def _draw(rng: np.random.Generator, scan: Box, real: bool, large: bool) -> Lesion:
    """A lesion anywhere in the scan; a faint spot is small."""
    x, y, z = (rng.uniform(-1, 1, 3) * (np.array(scan.shape) * scan.zooms / 2 - 2)).tolist()
    share = rng.random() ** 2
    if large:
        share = (1 + share) / 2
    elif not real:
        share = 0.3 * share
    smallest, largest = VOLUMES
    volume = smallest * (largest / smallest) ** share
    blob = draw_blob(rng, (x, y, z), volume, 0.25)
    enhancing, beside = rng.random(2) < (0.15 if real else 0, 0.4)
    return Lesion(blob, real, bool(enhancing), bool(beside))


def _fits(lesion: Lesion, brain: Brain, others: Sequence[Lesion]) -> bool:
    """Whether it lies in white matter, below the folds, where it should be, and alone."""
    blob = lesion.blob
    x, y, z = (np.asarray(value) for value in blob.center)
    outline, solid, white = brain.layers(x, y, z).tolist()
    inside = white > 0 and solid > 0.6 * min(blob.axes)
    within = outline > brain.sulci + 0.6 * blob.reach
    near = not lesion.beside or -float(brain.ventricle(x, y, z)) < blob.reach + 1.5
    return inside and within and near and all(_apart(blob, other.blob) for other in others)


def _apart(one: Blob, other: Blob) -> bool:
    distance = float(np.linalg.norm(np.subtract(one.center, other.center)))
    return distance > one.reach + other.reach + GAP


def _covered(lesion: Lesion, brain: Brain, scan: Box) -> tuple[Box, Coverage]:
    """The box about a lesion, and what the lesion covers there: nothing of the ventricles."""
    box = scan.around(lesion.blob.center, lesion.blob.reach + MARGIN)

    def depth(x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        return np.minimum(lesion.blob(x, y, z), -brain.ventricle(x, y, z))

    return box, cover_box(depth, box)


def _is_one(mask: BoolArray) -> bool:
    """Whether it is one piece of the right size."""
    return VOXELS[0] <= mask.sum() <= VOXELS[1] and label(mask)[1] == 1
