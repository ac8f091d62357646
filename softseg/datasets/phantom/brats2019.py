"""A synthetic imitation of BraTS 2019 (Menze et al. 2015, Bakas et al. 2017), in its layout.

A glioma is necrosis within a rim that takes up contrast agent, surrounded by edema. A low grade
glioma has no rim: its core is solid and takes up no contrast agent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from softseg.core.types import AnyArray, FloatArray
from softseg.datasets.phantom.brain import Brain, brain_tissues, sample_brain
from softseg.datasets.phantom.partial_volume import VoxelBox, approximate_fractions, cover_box
from softseg.datasets.phantom.scanner import (
    Contrast,
    Head,
    Scanner,
    save_nifti,
    simulate_contrast,
)
from softseg.datasets.phantom.shapes import Blob, Ripple, sample_blob, sample_ripple

SCAN = VoxelBox((96, 112, 28), (1.0, 1.0, 1.0))
NECROSIS, EDEMA, ENHANCING = 1, 2, 4
"""The codes of a mask."""

# axes to the left, to the back and up, as in the challenge
AFFINE = np.array([[-1.0, 0, 0, 0], [0, -1, 0, SCAN.shape[1] - 1], [0, 0, 1, 0], [0, 0, 0, 1]])
MAX_SUBJECTS = 999  # three digits

GRADES = ("HGG", "LGG")

VOLUMES = (800.0, 6000.0)
"""Smallest and largest tumor core, mm3, in a brain at two thirds of its size."""

# pathology: necrosis, edema, enhancing rim
CONTRASTS = {
    "flair": Contrast(gray=1.25, fluid=0.25, pathology=(1.05, 1.75, 1.55)),
    "t1": Contrast(gray=0.75, fluid=0.32, pathology=(0.5, 0.78, 0.72)),
    "t1ce": Contrast(gray=0.78, fluid=0.34, pathology=(0.48, 0.76, 1.55)),
    "t2": Contrast(gray=1.35, fluid=2.5, pathology=(2.1, 1.75, 1.5)),
}
SOLID = {"flair": 1.6, "t1": 0.66, "t1ce": 0.68, "t2": 2.0}
"""Brightness of the solid core of a low grade glioma, in place of necrosis."""

FILES = """
Below HGG and LGG (every fourth), in BraTS19_PHANTOM_NNN_1:
BraTS19_PHANTOM_NNN_1_X.nii.gz         synthetic flair, t1, t1ce, t2, int16, 0 outside the
                                       brain
BraTS19_PHANTOM_NNN_1_seg.nii.gz       uint8: 1 necrotic or solid core, 2 edema, 4 enhancing
BraTS19_PHANTOM_NNN_1_fraction.nii.gz  the truth, float32: share of each voxel that is tumor core
                                       (1 and 4), in [0, 1]

A slab of 28 mm of a brain at two thirds of its size, in 96 x 112 x 28 voxels of 1 mm (BraTS has
240 x 240 x 155). HGG tumors have necrosis within an enhancing rim, LGG ones a solid core
without a rim; edema surrounds both. They are analytic shapes; the fraction is their mean over
6 x 6 x 6 points of each voxel, and the images mix tissues and tumor by their fractions. There is
one mask for each subject, without a rater's errors.
"""
"""What the README says about the files."""


@dataclass(frozen=True)
class Tumor:
    """The shape parameters of one tumor; lengths in mm. All shapes are nested."""

    core: Blob
    rim: float
    """mean thickness of the enhancing rim; 0: no rim"""
    ripple: Ripple
    """makes rim and edema uneven"""
    edema: float
    """how far the edema reaches beyond the core on average"""

    @property
    def reach(self) -> float:
        """The radius of a ball about the core's center that contains the whole tumor."""
        return self.core.reach + 2.2 * self.edema

    def core_depth(self, brain: Brain, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the depth in the core, which stays in the brain and outside the ventricles."""
        within = np.minimum(brain.outline(x, y, z) - 1, -brain.ventricle(x, y, z))
        return np.asarray(np.minimum(self.core(x, y, z), within))

    def layers(self, brain: Brain, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the depths in the necrosis and in the whole tumor, (2, X, Y, Z).

        The edema stays in white matter.
        """
        core = self.core_depth(brain, x, y, z)
        blob, wave = self.core(x, y, z), self.ripple(x, y, z)
        necrosis = np.minimum(core, blob - self.rim * (1 + 0.6 * wave))
        white = brain.layers(x, y, z)[2]
        edema = np.minimum(blob + self.edema * (1 + 1.2 * wave), white)
        return np.stack([necrosis, np.maximum(core, edema)])


def sample_tumor(rng: np.random.Generator, brain: Brain, grade: str, reach: float) -> Tumor:
    """Sample a tumor in one hemisphere, with its center within `reach` mm of the middle slice."""
    while True:
        x, y, z = (rng.uniform(-1, 1, 3) * (26, 32, reach)).tolist()
        smallest, largest = VOLUMES
        volume = smallest * (largest / smallest) ** rng.random()
        core = sample_blob(rng, (x, y, z), volume, 0.3)
        rim, edema = rng.uniform((1.6, 3.0), (2.8, 7.0))
        ripple = sample_ripple(rng, 22.0)
        depth = brain.outline(*(np.asarray(v) for v in core.center))
        if abs(x) > 9 and float(depth) > 0.8 * core.reach + 3:
            return Tumor(core, float(rim) if grade == "HGG" else 0.0, ripple, float(edema))


@dataclass(frozen=True, eq=False)
class TumorSubject:
    """Everything about one synthetic subject; volumes are (X, Y, Z)."""

    grade: str
    brain: Brain
    tumor: Tumor
    fraction: FloatArray
    """the truth: fraction of each voxel that is tumor core"""
    mask: NDArray[np.uint8]
    images: dict[str, NDArray[np.int16]]
    """one for each contrast, 0 outside the brain"""


def make_subject(number: int, seed: int) -> TumorSubject:
    """Return subject `number` (from 1), which depends on the number and the seed only."""
    rng = np.random.default_rng([seed, 2019, number])
    grade = GRADES[number % 4 == 0]
    brain = sample_brain(rng)
    tumor = sample_tumor(rng, brain, grade, reach=5.0)
    tissues, outline = brain_tissues(brain, SCAN)
    core, necrosis, whole = tumor_fractions(tumor, brain)
    head = Head(tissues, (necrosis, whole - core, core - necrosis), outline >= 0.5)
    mask = np.where(whole >= 0.5, EDEMA, 0)
    mask[core >= 0.5] = np.where(necrosis >= core / 2, NECROSIS, ENHANCING)[core >= 0.5]
    scanner = Scanner(
        white=rng.uniform(150, 900),
        gray=1,
        fluid=1,
        noise=rng.uniform(0.03, 0.06),
        texture=0.04,
        bias=rng.uniform(0.05, 0.2),
    )
    images = {}
    for name, contrast in CONTRASTS.items():
        brightness = SOLID[name] if grade == "LGG" else contrast.pathology[0]
        contrast = replace(contrast, pathology=(brightness, *contrast.pathology[1:]))
        images[name] = simulate_contrast(rng, head, contrast, scanner, SCAN.zooms)
    return TumorSubject(grade, brain, tumor, core, mask.astype(np.uint8), images)


def tumor_fractions(tumor: Tumor, brain: Brain) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the fractions of each voxel (X, Y, Z): core (exact), necrosis and whole tumor."""
    tight = SCAN.around(tumor.core.center, tumor.core.reach + 2)
    wide = SCAN.around(tumor.core.center, tumor.reach + 2)
    core, necrosis, whole = np.zeros((3, *SCAN.shape))
    core[tight.slices] = cover_box(partial(tumor.core_depth, brain), tight).fraction
    layers = approximate_fractions(partial(tumor.layers, brain), wide)
    necrosis[wide.slices], whole[wide.slices] = layers
    return core, np.minimum(necrosis, core), np.maximum(whole, core)


def write_brats2019(folder: Path, subjects: int, seed: int) -> None:
    """Write `subjects` subjects into `folder`; every fourth has a low grade glioma."""
    for number in range(1, subjects + 1):
        subject, name = make_subject(number, seed), f"BraTS19_PHANTOM_{number:03d}_1"
        volumes: dict[str, AnyArray] = {
            **subject.images,
            "seg": subject.mask,
            "fraction": subject.fraction.astype(np.float32),
        }
        for what, data in volumes.items():
            path = folder / subject.grade / name / f"{name}_{what}.nii.gz"
            save_nifti(path, data[::-1, ::-1], AFFINE)
