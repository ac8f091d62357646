"""Multiple sclerosis lesions of a brain, and the seven experts who outline them.

An expert displaces the true edge by an offset of their own (mm outwards) and by a smooth random
field, overlooks small lesions and takes some faint spots for lesions: a patient's lesions are many,
small, and without a sharp edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from softseg.core.types import FloatArray
from softseg.datasets.phantom.brain import Brain
from softseg.datasets.phantom.partial_volume import HALF_BOX, VoxelBox, cover_box
from softseg.datasets.phantom.scanner import Zooms, edge_deviation
from softseg.datasets.phantom.shapes import Blob, sample_blob

COUNT = (5, 40)
"""Fewest and most lesions of a patient."""

VOXELS = (3, 3000)
"""Fewest and most voxels of a lesion."""

VOLUMES = (9.0, 1800.0)
"""Smallest and largest lesion, mm3; small ones are more frequent, but one is above 127."""

FAINT_SPOTS = (3, 10)
"""Fewest and most faint spots that are not lesions, although some raters take them for one."""

GAP = 2.0
"""Smallest distance between lesions, mm."""

MARGIN = 3.0
"""Depth is computed in the box of everything within so many mm of a lesion."""


@dataclass(frozen=True)
class Lesion:
    """One lesion, or a faint spot that might be taken for one."""

    blob: Blob
    real: bool
    enhancing: bool
    """whether it takes up contrast agent"""
    periventricular: bool
    """whether it must be at a ventricle, as many are"""

    def depth(self, brain: Brain, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the depth in the lesion, which does not reach into the ventricles."""
        return np.asarray(np.minimum(self.blob(x, y, z), -brain.ventricle(x, y, z)))


@dataclass(frozen=True, eq=False)
class Findings:
    """The lesions and faint spots of one patient on the scan's grid; arrays (X, Y, Z)."""

    lesions: tuple[Lesion, ...]
    fractions: FloatArray
    """fraction of the voxel that is lesion or faint spot, [0, 1]"""
    level: FloatArray
    """depth in mm in the nearest of them, at least -HALF_BOX"""
    nearest: NDArray[np.int_]
    """index of the nearest one in `lesions`; -1 far from all"""

    def fraction_of(self, selected: Sequence[bool]) -> FloatArray:
        """Return the fraction of each voxel that the selected lesions fill."""
        return np.asarray(self.fractions * np.append(selected, False)[self.nearest])


def sample_findings(rng: np.random.Generator, brain: Brain, scan: VoxelBox) -> Findings:
    """Sample a patient's lesions and faint spots, and compute what they cover of the scan."""
    n_real = round(float(np.exp(rng.uniform(*np.log(COUNT)))))
    n_faint = int(rng.integers(*FAINT_SPOTS, endpoint=True))
    lesions: list[Lesion] = []
    fractions, level = np.zeros(scan.shape), np.full(scan.shape, -HALF_BOX)
    nearest = np.full(scan.shape, -1)
    while len(lesions) < n_real + n_faint:
        lesion = _sample_lesion(rng, scan, real=len(lesions) < n_real, large=not lesions)
        if not _fits(lesion, brain, lesions):
            continue
        box = scan.around(lesion.blob.center, lesion.blob.reach + MARGIN)
        coverage = cover_box(partial(lesion.depth, brain), box)
        mask = coverage.fraction >= 0.5
        if not VOXELS[0] <= mask.sum() <= VOXELS[1] or label(mask)[1] != 1:
            continue
        fractions[box.slices] += coverage.fraction
        nearer = coverage.level > level[box.slices]
        level[box.slices] = np.where(nearer, coverage.level, level[box.slices])
        nearest[box.slices] = np.where(nearer, len(lesions), nearest[box.slices])
        lesions.append(lesion)
    return Findings(tuple(lesions), fractions, level, nearest)


def _sample_lesion(rng: np.random.Generator, scan: VoxelBox, real: bool, large: bool) -> Lesion:
    """Sample a lesion anywhere in the scan; a faint spot is small."""
    x, y, z = (rng.uniform(-1, 1, 3) * (np.array(scan.shape) * scan.zooms / 2 - 2)).tolist()
    exponent = rng.random() ** 2
    if large:
        exponent = (1 + exponent) / 2
    elif not real:
        exponent = 0.3 * exponent
    smallest, largest = VOLUMES
    volume = smallest * (largest / smallest) ** exponent
    blob = sample_blob(rng, (x, y, z), volume, 0.25)
    enhancing, periventricular = rng.random(2) < (0.15 if real else 0, 0.4)
    return Lesion(blob, real, bool(enhancing), bool(periventricular))


def _fits(lesion: Lesion, brain: Brain, others: Sequence[Lesion]) -> bool:
    """Return whether a lesion is in white matter, below the folds, and apart from the others."""
    blob = lesion.blob
    x, y, z = (np.asarray(value) for value in blob.center)
    outline, solid, white = brain.layers(x, y, z).tolist()
    inside = white > 0 and solid > 0.6 * min(blob.axes)
    below_folds = outline > brain.sulci + 0.6 * blob.reach
    near = not lesion.periventricular or -float(brain.ventricle(x, y, z)) < blob.reach + 1.5
    apart = all(
        float(np.linalg.norm(np.subtract(blob.center, other.blob.center)))
        > blob.reach + other.blob.reach + GAP
        for other in others
    )
    return inside and below_folds and near and apart


@dataclass(frozen=True)
class Expert:
    """How one person outlines lesions."""

    offset: float
    """how far outside the true edge on average, mm"""
    miss_rate: float
    """probability to overlook the smallest lesion"""
    false_positive_rate: float
    """probability to take a faint spot for a lesion"""


EXPERTS = (
    Expert(0.35, 0.2, 0.35),
    Expert(-0.25, 0.6, 0.05),
    Expert(0.1, 0.4, 0.15),
    Expert(0.5, 0.15, 0.4),
    Expert(-0.1, 0.5, 0.1),
    Expert(0.05, 0.35, 0.2),
    Expert(0.4, 0.45, 0.25),
)

EXPERT_SD = 0.7
"""Standard deviation in mm of an expert's edge; it makes the Dice with the consensus 69 to 77 %."""

EXPERT_SMOOTHNESS = 1.5
"""Over how many mm an expert's displacement changes."""

CONSPICUOUS_VOLUME = 60.0
"""mm3: a lesion of this size is overlooked 2.7 times less often than the smallest."""


def expert_mask(
    rng: np.random.Generator, findings: Findings, zooms: Zooms, expert: Expert
) -> NDArray[np.uint8]:
    """Return one expert's mask (X, Y, Z): 1 lesion, 0 the rest; `zooms` in mm."""
    level = findings.level
    sigmas = tuple(EXPERT_SMOOTHNESS / zoom for zoom in zooms)
    shift = expert.offset + EXPERT_SD * edge_deviation(rng, level.shape, sigmas)
    inside = level + np.minimum(shift, MARGIN) >= 0
    noticed = [
        rng.random() >= expert.miss_rate * np.exp(-lesion.blob.volume / CONSPICUOUS_VOLUME)
        if lesion.real
        else rng.random() < expert.false_positive_rate
        for lesion in findings.lesions
    ]
    is_lesion = inside & np.append(noticed, False)[findings.nearest]
    mask: NDArray[np.uint8] = is_lesion.astype(np.uint8)
    return mask
