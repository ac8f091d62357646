"""The simulated scanner: from tissue fractions to images and their files.

Tissues are mixed by their fractions; then come the coil's sensitivity and noise.
In T2*-weighted images of the cord, gray matter is a little brighter than white matter (ratio 1.1
to 1.2), cerebrospinal fluid about twice as bright, bone and air dark.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from softseg.core.types import AnyArray, BoolArray, Float64Array, FloatArray
from softseg.datasets.phantom.partial_volume import centers
from softseg.datasets.phantom.shapes import Point, ellipse

Zooms = tuple[float, float, float]

MAX_DEVIATION = 2.5
"""The largest displacement of a rater's edge, in standard deviations."""


@dataclass(frozen=True)
class Scanner:
    """The appearance of a site's images; intensities in units of the scanner or white matter's."""

    white: float
    """mean of white matter"""
    gray: float
    """gray matter / white matter"""
    fluid: float
    """cerebrospinal fluid / white matter"""
    noise: float
    """standard deviation / white matter"""
    texture: float
    """relative standard deviation of the tissues' own unevenness, a few mm wide"""
    bias: float
    """largest relative deviation of the receive field, about"""


@dataclass(frozen=True, eq=False)
class Tissues:
    """The fraction of each voxel, (X, Y, Z) each in [0, 1], that is gray, white, or fluid."""

    gray: FloatArray
    white: FloatArray
    fluid: FloatArray


@dataclass(frozen=True)
class Contrast:
    """The brightness of tissues and pathology, relative to white matter."""

    gray: float
    fluid: float
    pathology: tuple[float, ...]
    """one for each kind of pathology, in the order of the dataset's own module"""


@dataclass(frozen=True, eq=False)
class Head:
    """What a scanner measures of a head without its skull; arrays (X, Y, Z) in [0, 1]."""

    tissues: Tissues
    """of the healthy brain"""
    pathology: tuple[FloatArray, ...]
    """the fractions of each voxel that are pathological; together at most 1"""
    mask: BoolArray
    """the brain mask"""


def simulate_contrast(
    rng: np.random.Generator, head: Head, contrast: Contrast, scanner: Scanner, zooms: Zooms
) -> NDArray[np.int16]:
    """Return one contrast's image (X, Y, Z); the scanner's gray and fluid are the contrast's."""
    scanner = replace(scanner, gray=contrast.gray, fluid=contrast.fluid)
    missing = np.sum(head.pathology, axis=0)
    remaining = {}
    for name in ("white", "gray", "fluid"):  # pathology replaces white matter first
        healthy = getattr(head.tissues, name)
        replaced = np.minimum(missing, healthy)
        remaining[name], missing = healthy - replaced, missing - replaced
    signal = mix_tissues(Tissues(**remaining), np.zeros(1), scanner)
    for fraction, brightness in zip(head.pathology, contrast.pathology, strict=True):
        signal = signal + scanner.white * brightness * fraction
    field = receive_field(rng, signal.shape, zooms, scanner)
    image = add_noise(rng, signal * field, scanner)
    image[~head.mask] = 0
    return image


def mix_tissues(tissues: Tissues, outside: FloatArray, scanner: Scanner) -> FloatArray:
    """Return the noise-free signal: means weighted by fraction, and `outside` for the rest."""
    inside = tissues.gray * scanner.gray + tissues.white + tissues.fluid * scanner.fluid
    rest = 1 - tissues.gray - tissues.white - tissues.fluid
    signal: FloatArray = scanner.white * (inside + rest * outside)
    return signal


def surroundings(rng: np.random.Generator, sac: FloatArray, zooms: Zooms) -> FloatArray:
    """Return the signal outside the sac, relative to white matter: bone, vertebra, muscle, air.

    `sac` is the depth in the sac (X, Y, Z) in mm. Edges are one voxel wide.
    """
    lines = [centers(sac.shape[axis], zooms[axis]) for axis in (0, 1)]
    x, y = np.meshgrid(*lines, indexing="ij")
    half_x, half_y = sac.shape[0] * zooms[0] / 2, sac.shape[1] * zooms[1] / 2

    def inside(depth: FloatArray) -> FloatArray:
        fraction: FloatArray = np.clip(depth / zooms[0] + 0.5, 0, 1)
        return fraction[..., None] if depth.ndim == 2 else fraction

    muscle = 0.55 * (1 + 0.25 * smooth_field(rng, sac.shape, (2 / zooms[0], 2 / zooms[1], 0.5)))
    body = inside(ellipse(x, y, np.asarray(half_x - 1), np.asarray(half_y - 1)))
    vertebra = inside(ellipse(x, y - 15, np.asarray(10.0), np.asarray(6.5)))
    bone = inside(sac + 2.5)
    signal = muscle * body
    signal = signal + vertebra * (0.35 * body - signal)
    outside: FloatArray = signal + bone * (0.15 * body - signal)
    return outside


def receive_field(
    rng: np.random.Generator, shape: tuple[int, ...], zooms: Zooms, scanner: Scanner
) -> FloatArray:
    """Return a smooth multiplicative field (X, Y, Z): a slope and a bowl, times texture."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    a, b, c, d, e = rng.uniform(-1, 1, 5)
    wave = (a * x + b * y + 0.5 * c * z + d * (x**2 - 1 / 3) + e * (y**2 - 1 / 3)) / 2
    texture = smooth_field(rng, shape, (1.5 / zooms[0], 1.5 / zooms[1], 0.4))
    field: FloatArray = np.exp(scanner.bias * wave) * (1 + scanner.texture * texture)
    return field


def add_noise(rng: np.random.Generator, signal: FloatArray, scanner: Scanner) -> NDArray[np.int16]:
    """Return the magnitude image (X, Y, Z): Rician noise, rounded to integers."""
    sigma = scanner.noise * scanner.white
    real = signal + sigma * rng.standard_normal(signal.shape)
    imaginary = sigma * rng.standard_normal(signal.shape)
    return np.hypot(real, imaginary).round().astype(np.int16)


def smooth_field(
    rng: np.random.Generator, shape: tuple[int, ...], sigmas: tuple[float, ...]
) -> FloatArray:
    """Return a random field (X, Y, Z) of mean 0 and variance 1, smooth over `sigmas` voxels."""
    noise = rng.standard_normal(shape)
    field = gaussian_filter(noise, sigmas, mode="wrap")
    scaled: FloatArray = (field - field.mean()) / field.std()
    return scaled


def edge_deviation(
    rng: np.random.Generator, shape: tuple[int, ...], sigmas: tuple[float, ...]
) -> FloatArray:
    """Return how far a rater's edge is from the true one (X, Y, Z), in standard deviations."""
    return np.clip(smooth_field(rng, shape, sigmas), -MAX_DEVIATION, MAX_DEVIATION)


def sample_affine(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    zooms: Zooms,
    centers: tuple[Point, Point],
) -> Float64Array:
    """Sample a scan's affine (4, 4), voxel -> world mm; half of the scans are tilted by 3 to 12
    degrees.

    `centers`: the lowest and the highest world coordinates of the scan's center, mm.
    """
    tilt, turn = np.deg2rad(rng.uniform((3, -4), (12, 4))) * (rng.random() < 0.5)
    cos, sin = np.cos((tilt, turn)), np.sin((tilt, turn))
    about_x = np.array([[1, 0, 0], [0, cos[0], -sin[0]], [0, sin[0], cos[0]]])
    about_z = np.array([[cos[1], -sin[1], 0], [sin[1], cos[1], 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_z @ np.diag(zooms)
    center = rng.uniform(*centers)
    affine[:3, 3] = center - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def save_nifti(path: Path, data: AnyArray, affine: Float64Array) -> None:
    """Write `data` (X, Y, Z), in its own dtype, as .nii.gz without time stamp or file name."""
    image = nib.Nifti1Image(data, affine)
    image.set_qform(affine, code="scanner")
    image.set_sform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"softseg phantom: synthetic, no patient"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, fileobj=raw, mtime=0) as packed:
        packed.write(image.to_bytes())
