"""Label maps of what a mask has right, too much and too little (`--painted`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from softseg.core.types import BoolArray
from softseg.data import Subject
from softseg.inference.write import SOFTWARE, write_with_sidecar
from softseg.metrics import TRUTH_THRESHOLD, binarize
from softseg.metrics.score import TrueTarget

PAINTED = {"true positive": 1, "false positive": 2, "false negative": 3}
"""What a voxel is -> its code; 0 is a true negative or a voxel of unknown truth."""


def write_painted(
    folder: Path, subject: Subject, target: str, mask: BoolArray, truth: TrueTarget
) -> None:
    """Write which voxels (X, Y, Z) of a binary prediction are right, on the grid of the truth.

    The truth is foreground from 0.5 on. The file is `<subject>_label-<target>_desc-errors_dseg`.
    """
    true = binarize(truth.soft, TRUTH_THRESHOLD)
    painted = np.select([mask & true, mask, true], list(PAINTED.values()), 0).astype(np.uint8)
    if truth.ignore is not None:
        painted[truth.ignore] = 0
    path = folder / f"{subject.name}_label-{target}_desc-errors_dseg.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    sidecar = {"Label": target, "Labels": PAINTED, "GeneratedBy": [SOFTWARE]}
    write_with_sidecar(path, painted, subject.first_image, np.uint8, sidecar)
