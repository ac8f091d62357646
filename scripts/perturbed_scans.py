"""Copies of a BIDS dataset whose scans are harder to segment, for `scripts/reproduce augmentation`.

Each perturbation has one strength; what is random about it depends on the name of the scan only.
"""

from __future__ import annotations

import itertools
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
from scipy import ndimage

from softseg.core.types import Float32Array

NOISE = 0.3
"""Standard deviation of the noise, as a share of that of the scan's values."""
BIAS = 0.5
"""Limit of the coefficients of the bias field's polynomial."""
ORDER = 3
"""Order of the polynomial."""
ANGLE = 30.0
"""Degrees by which a scan is rotated in plane, in a random direction."""
LEAST_CONTRAST = 0.3
"""What is left of the contrast in the first and last slice."""


def add_noise(image: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Return a scan (X, Y, Z) with Gaussian noise."""
    noise = rng.normal(0, NOISE * image.std(), image.shape)
    return (image + noise).astype(np.float32)


def multiply_by_bias_field(image: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Return a scan (X, Y, Z) times the exponential of a random polynomial of the position."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in image.shape), indexing="ij")
    exponent = np.zeros(image.shape)
    for powers in itertools.product(range(ORDER + 1), repeat=3):
        if 0 < sum(powers) <= ORDER:
            term = np.prod([axis**p for axis, p in zip(axes, powers, strict=True)], axis=0)
            exponent += rng.uniform(-BIAS, BIAS) * term
    return (image * np.exp(exponent)).astype(np.float32)


def lower_resolution(image: Float32Array, rng: np.random.Generator) -> Float32Array:  # noqa: ARG001
    """Return a scan (X, Y, Z) with half the resolution in plane, on its own grid."""
    blocks = ndimage.uniform_filter(image, size=(2, 2, 1), mode="nearest")[1::2, 1::2]
    large = tuple(n / small for n, small in zip(image.shape, blocks.shape, strict=True))
    return ndimage.zoom(blocks, large, order=1, mode="nearest", grid_mode=True).astype(np.float32)


def fade_ends(image: Float32Array, rng: np.random.Generator) -> Float32Array:  # noqa: ARG001
    """Return a scan (X, Y, Z) whose contrast falls linearly in the outer thirds of its slices."""
    position = np.abs(np.linspace(-1, 1, image.shape[2]))
    contrast = 1 - (1 - LEAST_CONTRAST) * np.clip((position - 1 / 3) / (2 / 3), 0, 1)
    mean = image.mean(axis=(0, 1), keepdims=True)
    return (mean + (image - mean) * contrast).astype(np.float32)


def rotate(image: Float32Array, rng: np.random.Generator, outside: str) -> Float32Array:
    """Return a scan or mask (X, Y, Z) rotated in plane; values `outside` as scipy names them."""
    angle = ANGLE * rng.choice([-1, 1])
    return ndimage.rotate(image, angle, axes=(0, 1), reshape=False, order=1, mode=outside)


Perturb = Callable[[Float32Array, np.random.Generator], Float32Array]
PERTURBATIONS: dict[str, Perturb] = {
    "noise": add_noise,
    "bias-field": multiply_by_bias_field,
    "low-resolution": lower_resolution,
    "faded-ends": fade_ends,
    "rotation": lambda image, rng: rotate(image, rng, "nearest"),
}


def write_perturbed(source: Path, contrast: str, name: str, folder: Path) -> None:
    """Write a BIDS dataset whose images of a contrast are perturbed; masks turn with a rotation.

    The third axis of the files must be that across slices.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as temporary:
        part = Path(temporary) / "bids"
        shutil.copytree(source, part)
        _perturb(part, contrast, name)
        part.rename(folder)  # only when it is complete


def _perturb(part: Path, contrast: str, name: str) -> None:
    """Change the files of a copy of a dataset."""
    for path in sorted(part.glob(f"sub-*/**/*_{contrast}.nii.gz")):
        seed = zlib.crc32(path.name.encode())
        _change(path, lambda image, seed=seed: PERTURBATIONS[name](image, _generator(seed)))
        if name == "rotation":
            stem = path.name.removesuffix(".nii.gz")
            for mask in part.glob(f"derivatives/**/{stem}_*.nii.gz"):
                _change(mask, lambda part, seed=seed: rotate(part, _generator(seed), "constant"))


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _change(path: Path, function: Callable[[Float32Array], Float32Array]) -> None:
    """Replace the values of a NIfTI file."""
    file = nib.load(path)
    if nib.aff2axcodes(file.affine)[2] not in "SI":
        raise ValueError(f"{path}: its third axis is not that across slices")
    values = function(np.asarray(file.dataobj, dtype=np.float32))
    nib.save(nib.Nifti1Image(values, file.affine), path)
