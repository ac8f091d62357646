"""A synthetic imitation of the Spinal Cord Gray Matter challenge (Prados et al. 2017).

Four sites, four raters: `site{1..4}-sc{NN}-image.nii.gz`, `-mask-r{1..4}.nii.gz` (1 gray, 2 white
matter), and, unlike any real data set, `-fraction.nii.gz`: the exact share of gray matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from softseg.core.types import Float64Array, FloatArray
from softseg.datasets.phantom.anatomy import Anatomy, sample_anatomy
from softseg.datasets.phantom.files import save_nifti
from softseg.datasets.phantom.partial_volume import cover_slices
from softseg.datasets.phantom.raters import OFFSETS, rater_mask
from softseg.datasets.phantom.scanner import (
    Scanner,
    Tissues,
    add_noise,
    mix_tissues,
    receive_field,
    sample_affine,
    surroundings,
)


@dataclass(frozen=True)
class Site:
    """One center's protocol."""

    matrix: tuple[int, int]
    """voxels in plane, 40 to 50 mm"""
    zooms: tuple[float, float, float]
    """mm"""
    slices: tuple[int, int]
    """fewest and most slices of a scan"""
    scanner: Scanner


SITES = (
    Site((100, 100), (0.5, 0.5, 5.0), (3, 4), Scanner(400, 1.2, 1.9, 0.04, 0.025, 0.15)),
    Site((96, 88), (0.5, 0.5, 4.0), (8, 12), Scanner(250, 1.18, 2.1, 0.045, 0.03, 0.3)),
    Site((150, 140), (0.3, 0.3, 3.5), (6, 9), Scanner(900, 1.2, 1.7, 0.06, 0.035, 0.2)),
    Site((176, 168), (0.25, 0.25, 2.5), (6, 9), Scanner(600, 1.22, 2.0, 0.07, 0.035, 0.25)),
)
NECK = ((-5, -60, -80), (5, -30, -20))  # range of the center of a scan, world mm
MAX_SUBJECTS = 99 * len(SITES)  # two digits at each site

FILES = """
siteN-scNN-image.nii.gz      T2*-weighted image of a synthetic cervical cord, int16
siteN-scNN-mask-rR.nii.gz    four simulated raters, uint8: 1 gray matter, 2 white matter
siteN-scNN-fraction.nii.gz   the truth, float32: share of each voxel that is gray matter, in [0, 1]

In-plane resolution: site 1 and 2 0.5 mm, site 3 0.3 mm, site 4 0.25 mm. Slices: 5, 4, 3.5, 2.5 mm.
The anatomy is an analytic shape; the fraction is its mean over 8 x 8 x 4 points of each voxel, and
the image mixes the tissues by their fractions. The raters displace the true edge smoothly, each
differently; the mean Dice of their gray matter with the majority of the four is 89 to 93 % at every
site.
"""
"""What the README says about the files."""


@dataclass(frozen=True, eq=False)
class CordSubject:
    """Everything about one synthetic scan; volumes are (X, Y, Z)."""

    anatomy: Anatomy
    affine: Float64Array
    tissues: Tissues
    signal: FloatArray
    """noise-free, before the receive field"""
    field: FloatArray
    """the receive field, times the tissues' unevenness"""
    image: NDArray[np.int16]
    masks: tuple[NDArray[np.uint8], ...]
    """one for each rater"""


def make_subject(site: int, number: int, seed: int) -> CordSubject:
    """Return subject `number` of site `site` (both from 1), determined by these and the seed."""
    rng = np.random.default_rng([seed, site, number])
    protocol = SITES[site - 1]
    shape = (*protocol.matrix, int(rng.integers(*protocol.slices, endpoint=True)))
    zooms, scanner = protocol.zooms, protocol.scanner
    anatomy, affine = sample_anatomy(rng), sample_affine(rng, shape, zooms, NECK)
    depths = (anatomy.gray, anatomy.cord, anatomy.sac)  # nested
    gray, cord, sac = (cover_slices(depth, shape, zooms) for depth in depths)
    tissues = Tissues(
        gray=gray.fraction,
        white=cord.fraction - gray.fraction,
        fluid=sac.fraction - cord.fraction,
    )
    signal = mix_tissues(tissues, surroundings(rng, sac.level, zooms), scanner)
    field = receive_field(rng, shape, zooms, scanner)
    image = add_noise(rng, signal * field, scanner)
    masks = tuple(rater_mask(rng, gray.level, cord.level, zooms, offset) for offset in OFFSETS)
    return CordSubject(anatomy, affine, tissues, signal, field, image, masks)


def save_subject(subject: CordSubject, stem: Path) -> None:
    """Write one subject's files; `stem` is the folder and `siteN-scNN`."""

    def save(what: str, data: FloatArray | NDArray[np.uint8] | NDArray[np.int16]) -> None:
        save_nifti(stem.with_name(f"{stem.name}-{what}.nii.gz"), data, subject.affine)

    save("image", subject.image)
    save("fraction", subject.tissues.gray.astype(np.float32))
    for rater, mask in enumerate(subject.masks, start=1):
        save(f"mask-r{rater}", mask)


def write_scgm(folder: Path, subjects: int, seed: int) -> None:
    """Write `subjects` subjects into `folder`, at the four sites in turn."""
    for index in range(subjects):
        number, site = index // len(SITES) + 1, index % len(SITES) + 1
        save_subject(make_subject(site, number, seed), folder / f"site{site}-sc{number:02d}")
