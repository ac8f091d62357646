"""Folders of segmentations as `softseg predict` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tests.support import makers


def write_segmentation(
    folder: Path,
    scan: str,
    soft: ArrayLike | None = None,
    target: str = "ball",
    affine: NDArray[np.float64] | None = None,
    **sidecar: Any,
) -> Path:
    """Write a soft map and its mask at 0.5, with a sidecar if any of it is given."""
    values = np.asarray(makers.ball() if soft is None else soft, np.float32)
    stem = f"{scan}_label-{target}"
    path = makers.nifti(folder / f"{stem}_probseg.nii.gz", values, affine)
    makers.nifti(folder / f"{stem}_mask.nii.gz", values >= 0.5, affine, dtype=np.uint8)
    if sidecar:
        (folder / f"{stem}_mask.json").write_text(json.dumps(sidecar))
    return path
