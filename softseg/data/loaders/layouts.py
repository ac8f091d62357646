"""Presets of path patterns for public data sets; a new one is one entry in `LAYOUTS`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

LayoutName = Literal["scgm", "msseg2016", "msseg2016_raters", "brats2019"]


@dataclass(frozen=True)
class Layout:
    """Path patterns below the root, and how to get the data."""

    image: str
    label: str
    id: str
    hint: str  # holds {root}


# MICCAI 2016: 3 centers with 5 patients each, numbered from 1 at every center
_PATIENT = "Center_{center}/Patient_{subject}"
_MSSEG2016 = Layout(
    image=f"{_PATIENT}/Preprocessed_Data/{{contrast}}_preprocessed.nii.gz",
    label=f"{_PATIENT}/Masks/Consensus.nii.gz",
    id="center{center}-patient{subject}",
    hint="`softseg data phantom {root} --layout msseg2016` makes a synthetic look-alike; the scans "
    "are available after registration at https://portal.fli-iam.irisa.fr/msseg-challenge/ (root is "
    "the folder that holds Center_01, Center_07 and Center_08)",
)

LAYOUTS: dict[LayoutName, Layout] = {
    # Spinal Cord Gray Matter challenge, ISMRM 2016: 4 centers, 4 raters; 1 gray, 2 white matter
    "scgm": Layout(
        image="site{center}-sc{subject}-image.nii.gz",
        label="site{center}-sc{subject}-mask-r{rater}.nii.gz",
        id="site{center}-sc{subject}",
        hint="`softseg data phantom {root}` makes a synthetic look-alike; the scans are "
        "available after registration at http://niftyweb.cs.ucl.ac.uk/challenge/index.php",
    ),
    "msseg2016": _MSSEG2016,
    # The consensus is not an eighth rater, so the raters have their own layout
    "msseg2016_raters": replace(
        _MSSEG2016, label=f"{_PATIENT}/Masks/ManualSegmentation_{{rater}}.nii.gz"
    ),
    # Brain tumors; 1 necrosis and non-enhancing core, 2 edema, 4 enhancing tumor
    "brats2019": Layout(
        image="{grade}/BraTS19_{subject}/BraTS19_{subject}_{contrast}.nii.gz",
        label="{grade}/BraTS19_{subject}/BraTS19_{subject}_seg.nii.gz",
        id="{subject}",
        hint="`softseg data phantom {root} --layout brats2019` makes a synthetic look-alike; the "
        "scans are available after registration at "
        "https://www.med.upenn.edu/cbica/brats2019/data.html (root is the folder that holds HGG "
        "and LGG)",
    ),
}
