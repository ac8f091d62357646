"""A look-alike of the multiple sclerosis lesions of MICCAI 2016 (Commowick et al. 2018).

Three centers, five contrasts, seven experts, in the challenge's own layout: `Center_CC/Patient_NN/`
with `Preprocessed_Data/` and `Masks/`, and, what no real data set has, `Masks/Fraction.nii.gz`: the
exact share of lesion.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from softseg.core.errors import UserError
from softseg.core.types import BoolArray, Float64Array, FloatArray
from softseg.datasets.phantom.brain import Brain, draw_brain, tissues_of
from softseg.datasets.phantom.contrasts import Contrast, Head, picture
from softseg.datasets.phantom.experts import EXPERTS, expert_mask
from softseg.datasets.phantom.files import save_nifti
from softseg.datasets.phantom.intensity import Scanner
from softseg.datasets.phantom.lesions import Findings, find
from softseg.datasets.phantom.placing import draw_affine
from softseg.datasets.phantom.volume import Box


@dataclass(frozen=True)
class Center:
    """One center's protocol."""

    name: str
    shape: tuple[int, int, int]
    zooms: tuple[float, float, float]
    """mm"""
    scanner: Scanner


# about 96 x 112 x 30 mm each; sagittal scans, as the challenge's, whose slices are the thickest
CENTERS = (
    Center("01", (88, 144, 38), (1.1, 0.78, 0.78), Scanner(300, 1, 1, 0.04, 0.03, 0.12)),
    Center("07", (78, 112, 30), (1.25, 1.0, 1.0), Scanner(180, 1, 1, 0.06, 0.03, 0.08)),
    Center("08", (108, 124, 34), (0.9, 0.9, 0.9), Scanner(700, 1, 1, 0.05, 0.03, 0.16)),
)
MOST_SUBJECTS = 99 * len(CENTERS)  # the layout has two digits

# ill: lesion, lesion that takes up contrast agent, faint spot
CONTRASTS = {
    "FLAIR": Contrast(gray=1.25, fluid=0.25, ill=(1.9, 1.95, 1.3)),
    "T1": Contrast(gray=0.72, fluid=0.3, ill=(0.66, 0.62, 0.92)),
    "T2": Contrast(gray=1.35, fluid=2.6, ill=(1.9, 1.95, 1.15)),
    "DP": Contrast(gray=1.2, fluid=1.1, ill=(1.45, 1.5, 1.1)),
    "GADO": Contrast(gray=0.75, fluid=0.32, ill=(0.68, 1.45, 0.92)),
}


@dataclass(frozen=True, eq=False)
class Patient:
    """Everything about one synthetic patient; volumes are (X, Y, Z)."""

    brain: Brain
    findings: Findings
    affine: Float64Array
    fraction: FloatArray
    """the truth: share of each voxel that is lesion"""
    mask: BoolArray
    """the brain's"""
    images: dict[str, NDArray[np.int16]]
    """one for each contrast"""
    raters: tuple[NDArray[np.uint8], ...]
    """one mask for each expert"""

    @property
    def consensus(self) -> NDArray[np.uint8]:
        """1 where at least half of a voxel is lesion."""
        return (self.fraction >= 0.5).astype(np.uint8)


def make_patient(center: int, number: int, seed: int) -> Patient:
    """Patient `number` (from 1) of center `center` (from 1): a function of these three alone."""
    rng = np.random.default_rng([seed, 2016, center, number])
    protocol = CENTERS[center - 1]
    scan, zooms = Box(protocol.shape, protocol.zooms), protocol.zooms
    brain = draw_brain(rng)
    affine = draw_affine(rng, protocol.shape, zooms, ((-4, -10, 0), (4, 20, 30)))
    tissues, outline = tissues_of(brain, scan)
    findings = find(rng, brain, scan)
    real = [lesion.real for lesion in findings.lesions]
    lit = [lesion.enhancing for lesion in findings.lesions]
    fraction, bright = findings.share(real), findings.share(lit)
    faint = findings.fractions - fraction
    head = Head(tissues, (fraction - bright, bright, faint), outline >= 0.5)
    images = {
        name: picture(rng, head, contrast, protocol.scanner, zooms)
        for name, contrast in CONTRASTS.items()
    }
    raters = tuple(expert_mask(rng, findings, zooms, expert) for expert in EXPERTS)
    return Patient(brain, findings, affine, fraction, head.mask, images, raters)


def save_patient(patient: Patient, folder: Path) -> None:
    """Write one patient's files below `Center_CC/Patient_NN`."""

    def save(what: str, data: FloatArray | NDArray[np.integer] | BoolArray) -> None:
        path = folder / f"{what}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_nifti(path, data, patient.affine)

    for name, image in patient.images.items():
        save(f"Preprocessed_Data/{name}_preprocessed", image)
    save("Masks/Brain_Mask", patient.mask.astype(np.uint8))
    save("Masks/Consensus", patient.consensus)
    save("Masks/Fraction", patient.fraction.astype(np.float32))
    for rater, mask in enumerate(patient.raters, start=1):
        save(f"Masks/ManualSegmentation_{rater}", mask)


def write_msseg2016(folder: Path, subjects: int, seed: int) -> None:
    """Write `subjects` patients into `folder`, dealt to the three centers in turn."""
    if subjects > MOST_SUBJECTS:
        raise UserError(
            f"{subjects} subjects: the msseg2016 layout numbers at most 99 at each of its "
            f"{len(CENTERS)} centers, {MOST_SUBJECTS} in all; ask for fewer"
        )
    for index in range(subjects):
        number, center = index // len(CENTERS) + 1, index % len(CENTERS) + 1
        place = folder / f"Center_{CENTERS[center - 1].name}" / f"Patient_{number:02d}"
        save_patient(make_patient(center, number, seed), place)
