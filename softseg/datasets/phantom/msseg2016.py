"""A synthetic imitation of the MS lesions of MICCAI 2016 (Commowick et al. 2018).

Three centers, five contrasts, seven experts, in the challenge's layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from softseg.core.types import AnyArray, BoolArray, Float64Array, FloatArray
from softseg.datasets.phantom.brain import Brain, brain_tissues, sample_brain
from softseg.datasets.phantom.lesions import EXPERTS, Findings, expert_mask, sample_findings
from softseg.datasets.phantom.partial_volume import VoxelBox
from softseg.datasets.phantom.scanner import (
    Contrast,
    Head,
    Scanner,
    Zooms,
    sample_affine,
    save_nifti,
    simulate_contrast,
)


@dataclass(frozen=True)
class Center:
    """One center's protocol."""

    name: str
    shape: tuple[int, int, int]
    zooms: Zooms
    """mm"""
    scanner: Scanner


# about 96 x 112 x 30 mm each; sagittal as in the challenge: the first zoom is the thickness
CENTERS = (
    Center("01", (88, 144, 38), (1.1, 0.78, 0.78), Scanner(300, 1, 1, 0.04, 0.03, 0.12)),
    Center("07", (78, 112, 30), (1.25, 1.0, 1.0), Scanner(180, 1, 1, 0.06, 0.03, 0.08)),
    Center("08", (108, 124, 34), (0.9, 0.9, 0.9), Scanner(700, 1, 1, 0.05, 0.03, 0.16)),
)
MAX_SUBJECTS = 99 * len(CENTERS)  # two digits at each center

# pathology: lesion, lesion that takes up contrast agent, faint spot
CONTRASTS = {
    "FLAIR": Contrast(gray=1.25, fluid=0.25, pathology=(1.9, 1.95, 1.3)),
    "T1": Contrast(gray=0.72, fluid=0.3, pathology=(0.66, 0.62, 0.92)),
    "T2": Contrast(gray=1.35, fluid=2.6, pathology=(1.9, 1.95, 1.15)),
    "DP": Contrast(gray=1.2, fluid=1.1, pathology=(1.45, 1.5, 1.1)),
    "GADO": Contrast(gray=0.75, fluid=0.32, pathology=(0.68, 1.45, 0.92)),
}

FILES = """
Below Center_CC/Patient_NN:
Preprocessed_Data/X_preprocessed.nii.gz  synthetic FLAIR, T1, T2, DP, GADO, int16, 0 outside
                                         the brain
Masks/Brain_Mask.nii.gz                  the brain, uint8
Masks/ManualSegmentation_R.nii.gz        seven simulated experts, uint8: 1 lesion
Masks/Consensus.nii.gz                   uint8: 1 where at least half of a voxel is lesion
Masks/Fraction.nii.gz                    the truth, float32: share of each voxel that is lesion, in
                                         [0, 1]

A slab of 30 mm of a brain at two thirds of its size, in about 80 to 110 x 110 to 140 voxels: of
1.1 x 0.78 x 0.78 mm at center 01, 1.25 x 1 x 1 mm at 07, 0.9 mm at 08 (right-left,
posterior-anterior, inferior-superior). A patient has 5 to 40 lesions of 3 to 3000 voxels. They are
analytic shapes; the fraction is their mean over 6 x 6 x 6 points of each voxel, and the images mix
tissues and lesions by their fractions. The experts displace the true edge smoothly, overlook small
lesions and take some faint spots for lesions; their mean Dice with the consensus is 69 to 77 %.
The consensus is better than a real one: it comes from the truth, not from the experts.
"""
"""What the README says about the files."""


@dataclass(frozen=True, eq=False)
class Patient:
    """Everything about one synthetic patient; volumes are (X, Y, Z)."""

    brain: Brain
    findings: Findings
    affine: Float64Array
    fraction: FloatArray
    """the truth: fraction of each voxel that is lesion"""
    mask: BoolArray
    """the brain mask"""
    images: dict[str, NDArray[np.int16]]
    """one for each contrast"""
    raters: tuple[NDArray[np.uint8], ...]
    """one mask for each expert"""

    @property
    def consensus(self) -> NDArray[np.uint8]:
        """1 where at least half of a voxel is lesion."""
        return (self.fraction >= 0.5).astype(np.uint8)


def make_patient(center: int, number: int, seed: int) -> Patient:
    """Return patient `number` of center `center` (from 1), determined by these and the seed."""
    rng = np.random.default_rng([seed, 2016, center, number])
    protocol = CENTERS[center - 1]
    scan, zooms = VoxelBox(protocol.shape, protocol.zooms), protocol.zooms
    brain = sample_brain(rng)
    affine = sample_affine(rng, protocol.shape, zooms, ((-4, -10, 0), (4, 20, 30)))
    tissues, outline = brain_tissues(brain, scan)
    findings = sample_findings(rng, brain, scan)
    fraction = findings.fraction_of([lesion.real for lesion in findings.lesions])
    enhancing = findings.fraction_of([lesion.enhancing for lesion in findings.lesions])
    faint = findings.fractions - fraction
    head = Head(tissues, (fraction - enhancing, enhancing, faint), outline >= 0.5)
    images = {
        name: simulate_contrast(rng, head, contrast, protocol.scanner, zooms)
        for name, contrast in CONTRASTS.items()
    }
    raters = tuple(expert_mask(rng, findings, zooms, expert) for expert in EXPERTS)
    return Patient(brain, findings, affine, fraction, head.mask, images, raters)


def write_msseg2016(folder: Path, subjects: int, seed: int) -> None:
    """Write `subjects` patients into `folder`, at the three centers in turn."""
    for index in range(subjects):
        number, center = index // len(CENTERS) + 1, index % len(CENTERS) + 1
        patient = make_patient(center, number, seed)
        volumes: dict[str, AnyArray] = {
            **{f"Preprocessed_Data/{n}_preprocessed": image for n, image in patient.images.items()},
            "Masks/Brain_Mask": patient.mask.astype(np.uint8),
            "Masks/Consensus": patient.consensus,
            "Masks/Fraction": patient.fraction.astype(np.float32),
            **{f"Masks/ManualSegmentation_{k}": mask for k, mask in enumerate(patient.raters, 1)},
        }
        for what, data in volumes.items():
            files = folder / f"Center_{CENTERS[center - 1].name}" / f"Patient_{number:02d}"
            save_nifti(files / f"{what}.nii.gz", data, patient.affine)
