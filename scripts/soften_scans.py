"""Scans with the exact partial volume of their masks, for `scripts/reproduce soften`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import from_matvec

from softseg.core.names import natural_key
from softseg.core.types import Float32Array, Float64Array
from softseg.metrics import TRUTH_THRESHOLD, binarize

SETS = {"train": 24, "validation": 6, "test": 100}
"""Scans of each set: widths are chosen on the first two, everything is scored on the third."""


@dataclass(frozen=True)
class Scan:
    """One scan: what its mask looks like, and what fraction of each voxel the structure fills."""

    name: str
    set: str
    image: Float32Array
    """(C, X, Y, Z)"""
    mask: Float32Array
    """(X, Y, Z), 1 where the fraction is at least 0.5"""
    fraction: Float32Array
    """(X, Y, Z) in [0, 1]"""
    zooms: Float64Array
    """(3,) mm"""


def write_phantom(folder: Path, make: Callable[..., None]) -> None:
    """Write the scans of the gray matter phantom, which knows the fraction of each voxel.

    `make` calls `softseg` with these arguments. Sites, of different voxel sizes, alternate.
    """
    source = folder.parent / "phantom-source"
    if not source.exists():
        make("data", "phantom", str(source), "--subjects", str(sum(SETS.values())))
    images = sorted(source.glob("*-image.nii.gz"), key=lambda path: natural_key(path.name))
    images.sort(key=lambda path: natural_key(path.name.split("-")[1]))  # stable: sites alternate
    for image, set_name in zip(images, _set_names(), strict=True):
        scan, fraction = (
            nib.load(str(image).replace("-image", f"-{kind}")) for kind in ("image", "fraction")
        )
        name = image.name.split("-image")[0].replace("-", "")
        _write_scan(folder, set_name, name, scan.get_fdata(), fraction.get_fdata(), scan.affine)


def write_hippocampus(folder: Path, source: Path) -> None:
    """Write the scans of the hippocampus at half the resolution: means of 2 x 2 x 2 voxels.

    The exact fraction of a voxel is the mean of the mask at full resolution.
    """
    labels = source / "derivatives/labels"
    masks = sorted(labels.rglob("*_seg-manual.nii.gz"), key=lambda path: natural_key(path.name))
    for path, set_name in zip(masks, _set_names(), strict=True):
        inside = path.relative_to(labels)
        image = nib.load(source / inside.with_name(path.name.replace("_seg-manual", "")))
        blocks = from_matvec(np.diag([2.0, 2.0, 2.0]), [0.5, 0.5, 0.5])  # their centers, in voxels
        halves = (_block_means(nib.load(file).get_fdata()) for file in (image.get_filename(), path))
        name = path.name.split("_")[0].removeprefix("sub-")
        _write_scan(folder, set_name, name, *halves, image.affine @ blocks)


def _set_names() -> Iterator[str]:
    """Yield the set of each scan, train and validation first."""
    for name, count in SETS.items():
        yield from [name] * count


def _block_means(volume: Float64Array) -> Float64Array:
    """Return the means of 2 x 2 x 2 voxels; an odd last voxel along an axis is left out."""
    x, y, z = (size // 2 for size in volume.shape)
    return volume[: 2 * x, : 2 * y, : 2 * z].reshape(x, 2, y, 2, z, 2).mean(axis=(1, 3, 5))


def _write_scan(
    folder: Path,
    set_name: str,
    name: str,
    image: Float64Array,
    fraction: Float64Array,
    affine: Float64Array,
) -> None:
    """Write image, fraction and mask of a scan; the set is the first part of the names."""
    folder.mkdir(parents=True, exist_ok=True)
    fraction = fraction.astype(np.float32)
    mask = binarize(fraction, TRUTH_THRESHOLD).astype(np.uint8)
    for kind, voxels in (("image", image.astype(np.float32)), ("fraction", fraction)):
        nib.save(nib.Nifti1Image(voxels, affine), folder / f"{set_name}-{name}-{kind}.nii.gz")
    nib.save(nib.Nifti1Image(mask, affine), folder / f"{set_name}-{name}-mask.nii.gz")


def read_scans(folder: Path) -> list[Scan]:
    """Return all scans of a folder."""
    scans = []
    for path in sorted(folder.glob("*-image.nii.gz"), key=lambda path: natural_key(path.name)):
        set_name, name = path.name.removesuffix("-image.nii.gz").split("-", 1)
        image = nib.load(path)
        mask, fraction = (
            np.asarray(nib.load(str(path).replace("-image", f"-{kind}")).dataobj, np.float32)
            for kind in ("mask", "fraction")
        )
        voxels = image.get_fdata(dtype=np.float32)[None]
        zooms = np.array(image.header.get_zooms()[:3], dtype=np.float64)
        scans.append(Scan(name, set_name, voxels, mask, fraction, zooms))
    return scans
