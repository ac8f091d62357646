"""Known data sets laid out in plain files: adding one is one entry here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LayoutName = Literal["scgm"]


@dataclass(frozen=True)
class Layout:
    """Path patterns below the root, and how to come by the data."""

    image: str
    label: str
    id: str
    hint: str  # holds {root}


LAYOUTS: dict[LayoutName, Layout] = {
    # Spinal Cord Grey Matter challenge, ISMRM 2016: 4 centres, 4 raters; 1 grey, 2 white matter
    "scgm": Layout(
        image="site{center}-sc{subject}-image.nii.gz",
        label="site{center}-sc{subject}-mask-r{rater}.nii.gz",
        id="site{center}-sc{subject}",
        hint="`softseg data phantom {root}` makes a synthetic look-alike; the scans are given "
        "out after registration at http://niftyweb.cs.ucl.ac.uk/challenge/index.php",
    ),
}
