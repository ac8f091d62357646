"""A look-alike of BraTS 2019 (Menze et al. 2015, Bakas et al. 2017), in its own layout.

`HGG/BraTS19_PHANTOM_NNN_1/`, and `LGG/` every fourth, with `BraTS19_PHANTOM_NNN_1_flair.nii.gz`,
`_t1`, `_t1ce`, `_t2`, `_seg` (1 dead, 2 swollen, 4 enhancing), and, what no real data set has,
`_fraction`: the exact share of tumor core (1 and 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from softseg.core.errors import UserError
from softseg.core.types import AnyArray, FloatArray
from softseg.datasets.phantom.brain import Brain, draw_brain, tissues_of
from softseg.datasets.phantom.contrasts import Contrast, Head, picture
from softseg.datasets.phantom.files import save_nifti
from softseg.datasets.phantom.intensity import Scanner
from softseg.datasets.phantom.tumor import GRADES, Tumor, draw_tumor
from softseg.datasets.phantom.volume import Box, cover_box, share

SCAN = Box((96, 112, 28), (1.0, 1.0, 1.0))
DEAD, SWOLLEN, ENHANCING = 1, 2, 4
"""The codes of a mask."""

# to the left, to the back, up, as the challenge's
AFFINE = np.array([[-1.0, 0, 0, 0], [0, -1, 0, SCAN.shape[1] - 1], [0, 0, 1, 0], [0, 0, 0, 1]])
MOST_SUBJECTS = 999  # three digits

# ill: dead, swollen, enhancing; then the same of a low grade glioma, whose core is solid
CONTRASTS = {
    "flair": Contrast(gray=1.25, fluid=0.25, ill=(1.05, 1.75, 1.55)),
    "t1": Contrast(gray=0.75, fluid=0.32, ill=(0.5, 0.78, 0.72)),
    "t1ce": Contrast(gray=0.78, fluid=0.34, ill=(0.48, 0.76, 1.55)),
    "t2": Contrast(gray=1.35, fluid=2.5, ill=(2.1, 1.75, 1.5)),
}
SOLID = {"flair": 1.6, "t1": 0.66, "t1ce": 0.68, "t2": 2.0}
"""How bright the core of a low grade glioma is, in place of dead tissue."""


@dataclass(frozen=True, eq=False)
class Subject:
    """Everything about one synthetic subject; volumes are (X, Y, Z)."""

    grade: str
    brain: Brain
    tumor: Tumor
    fraction: FloatArray
    """the truth: share of each voxel that is tumor core"""
    mask: NDArray[np.uint8]
    images: dict[str, NDArray[np.int16]]
    """one for each contrast, 0 outside the brain"""


def make_subject(number: int, seed: int) -> Subject:
    """Subject `number` (from 1): a function of the two alone."""
    rng = np.random.default_rng([seed, 2019, number])
    grade = GRADES[number % 4 == 0]
    brain = draw_brain(rng)
    tumor = draw_tumor(rng, brain, grade, reach=5.0)
    tissues, outline = tissues_of(brain, SCAN)
    core, dead, whole = regions(tumor, brain)
    head = Head(tissues, (dead, whole - core, core - dead), outline >= 0.5)
    mask = np.where(whole >= 0.5, SWOLLEN, 0)
    mask[core >= 0.5] = np.where(dead >= core / 2, DEAD, ENHANCING)[core >= 0.5]
    return Subject(grade, brain, tumor, core, mask.astype(np.uint8), _images(rng, head, grade))


def regions(tumor: Tumor, brain: Brain) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The shares of each voxel (X, Y, Z) that are core, dead and whole tumor: the core's exact."""
    tight = SCAN.around(tumor.core.center, tumor.core.reach + 2)
    wide = SCAN.around(tumor.core.center, tumor.reach + 2)
    core, dead, whole = np.zeros((3, *SCAN.shape))
    core[tight.slices] = cover_box(partial(tumor.inner, brain), tight).fraction
    dead[wide.slices], whole[wide.slices] = share(partial(tumor.layers, brain), wide)
    return core, np.minimum(dead, core), np.maximum(whole, core)


def _images(rng: np.random.Generator, head: Head, grade: str) -> dict[str, NDArray[np.int16]]:
    """One image for each contrast, from a scanner of the subject's own."""
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
        core = SOLID[name] if grade == "LGG" else contrast.ill[0]
        seen = Contrast(contrast.gray, contrast.fluid, (core, *contrast.ill[1:]))
        images[name] = picture(rng, head, seen, scanner, SCAN.zooms)
    return images


def save_subject(subject: Subject, folder: Path) -> None:
    """Write one subject's files into `GRADE/BraTS19_NAME`, the axes turned as the challenge's."""
    folder.mkdir(parents=True)
    volumes: dict[str, AnyArray] = {
        **subject.images,
        "seg": subject.mask,
        "fraction": subject.fraction.astype(np.float32),
    }
    for what, data in volumes.items():
        save_nifti(folder / f"{folder.name}_{what}.nii.gz", data[::-1, ::-1], AFFINE)


def write_brats2019(folder: Path, subjects: int, seed: int) -> None:
    """Write `subjects` subjects into `folder`; every fourth has a low grade glioma."""
    if subjects > MOST_SUBJECTS:
        raise UserError(
            f"{subjects} subjects: the brats2019 phantom numbers at most {MOST_SUBJECTS}; ask for "
            "fewer"
        )
    for number in range(1, subjects + 1):
        subject = make_subject(number, seed)
        save_subject(subject, folder / subject.grade / f"BraTS19_PHANTOM_{number:03d}_1")
