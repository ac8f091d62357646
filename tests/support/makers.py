"""Tiny datasets on disk for tests: NIfTI files whose every property the test chooses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat
from numpy.typing import ArrayLike, NDArray

SHAPE = (8, 6, 4)


def oblique(zooms: Sequence[float] = (0.5, 0.5, 3.0), lps: bool = False) -> NDArray[np.float64]:
    """An affine turned by some degrees about every axis, of left-posterior-superior if `lps`."""
    signs = np.diag([-1.0, -1.0, 1.0] if lps else [1.0, 1.0, 1.0])
    turned = euler2mat(0.1, -0.15, 0.05) @ signs @ np.diag(zooms)
    return np.asarray(from_matvec(turned, [-11.0, 23.5, 7.25]))


def nifti(
    path: Path,
    data: ArrayLike,
    affine: NDArray[np.float64] | None = None,
    *,
    codes: tuple[int, int] = (1, 1),
    dtype: Any = None,
    units: str = "mm",
) -> Path:
    """Write `data` as it is, with (qform, sform) `codes`; the folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.eye(4) if affine is None else affine
    image = nib.Nifti1Image(np.asarray(data, dtype=dtype), affine)
    image.set_qform(affine, codes[0])
    image.set_sform(affine, codes[1])
    image.header.set_xyzt_units(units)
    nib.save(image, path)
    return path


def scan(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> NDArray[np.float32]:
    """Noise in the range of an MRI scan."""
    return np.random.default_rng(seed).uniform(1, 900, shape).astype(np.float32)


def ball(shape: tuple[int, ...] = SHAPE, soft: bool = True) -> NDArray[np.float32]:
    """A ball in the middle, 1 inside and, if `soft`, falling to 0 over two voxels at its edge."""
    center = (np.array(shape) - 1) / 2
    away = np.linalg.norm(np.moveaxis(np.indices(shape), 0, -1) - center, axis=-1)
    edge = np.clip((min(shape) / 2 + 1.5 - away) / 2, 0, 1)
    return (edge if soft else edge >= 0.5).astype(np.float32)


def scgm(root: Path, centers: int = 2, subjects: int = 3, raters: int = 4) -> Path:
    """A folder in the layout of the SCGM challenge: 1 gray, 2 white matter."""
    for center in range(1, centers + 1):
        for subject in range(1, subjects + 1):
            stem = f"site{center}-sc{subject:02d}"
            nifti(root / f"{stem}-image.nii.gz", scan(10 * center + subject))
            codes = ball(soft=False) + (ball() > 0)
            for rater in range(1, raters + 1):
                mask = np.where(codes == 2, 1, np.where(codes == 1, 2, 0))
                nifti(root / f"{stem}-mask-r{rater}.nii.gz", mask, dtype=np.uint8)
    return root


def bids(
    root: Path,
    names: Sequence[str] = ("sub-01", "sub-02", "sub-03"),
    contrasts: Sequence[str] = ("T1w",),
    suffix: str = "seg-manual",
    columns: dict[str, Sequence[str]] | None = None,
) -> Path:
    """A BIDS folder; a name is `sub-X` or `sub-X_ses-Y`. Masks are soft, named after contrast 1."""
    labels = root / "derivatives" / "labels"
    for number, name in enumerate(names):
        place = Path(*name.split("_")) / "anat"
        for contrast in contrasts:
            nifti(root / place / f"{name}_{contrast}.nii.gz", scan(number))
        nifti(labels / place / f"{name}_{contrasts[0]}_{suffix}.nii.gz", ball())
    table = {"participant_id": list(dict.fromkeys(n.split("_")[0] for n in names))}
    table |= {key: list(values) for key, values in (columns or {}).items()}
    rows = zip(*table.values(), strict=True)
    lines = ["\t".join(table), *("\t".join(row) for row in rows)]
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")
    return root
