"""A synthetic imitation of the Spinal Cord Gray Matter challenge (Prados et al. 2017).

A neck is a spinal cord with its gray-matter butterfly in the dural sac. Coordinates are millimeters
about the center of the image: x to one side, y to the front (anterior), z along the cord. Sizes are
those of the adult cervical cord: about 13 x 8.5 mm, gray matter 13 to 18 mm2 of some 85 mm2.

A rater draws the true edge displaced by an offset of their own (mm outwards) and by a smooth random
field; so raters differ along the edge only, and by as much in mm at every resolution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from softseg.core.types import AnyArray, BoolArray, Float64Array, FloatArray
from softseg.datasets.phantom.partial_volume import cover_slices
from softseg.datasets.phantom.scanner import (
    Scanner,
    Tissues,
    Zooms,
    add_noise,
    edge_deviation,
    mix_tissues,
    receive_field,
    sample_affine,
    save_nifti,
    surroundings,
)
from softseg.datasets.phantom.shapes import Curve, blend, ellipse, horn, rotate


@dataclass(frozen=True)
class Site:
    """One center's protocol."""

    matrix: tuple[int, int]
    """voxels in plane, 40 to 50 mm"""
    zooms: Zooms
    """mm"""
    slices: tuple[int, int]
    """fewest and most slices of a scan"""
    scanner: Scanner


SITES = (
    Site((100, 100), (0.5, 0.5, 5.0), (3, 4), Scanner(400, 1.2, 1.9, 0.04, 0.025, 0.15)),
    Site((96, 88), (0.5, 0.5, 4.0), (8, 12), Scanner(250, 1.18, 2.1, 0.045, 0.03, 0.3)),
    Site((150, 140), (0.3, 0.3, 3.5), (6, 9), Scanner(900, 1.2, 1.7, 0.06, 0.035, 0.2)),
    Site((176, 168), (0.25, 0.25, 2.5), (6, 9), Scanner(600, 1.22, 2.0, 0.07, 0.035, 0.25)),
)
NECK = ((-5, -60, -80), (5, -30, -20))  # range of the center of a scan, world mm
MAX_SUBJECTS = 99 * len(SITES)  # two digits at each site

FILES = """
siteN-scNN-image.nii.gz      T2*-weighted image of a synthetic cervical cord, int16
siteN-scNN-mask-rR.nii.gz    four simulated raters, uint8: 1 gray matter, 2 white matter
siteN-scNN-fraction.nii.gz   the truth, float32: share of each voxel that is gray matter, in [0, 1]

In-plane resolution: site 1 and 2 0.5 mm, site 3 0.3 mm, site 4 0.25 mm. Slices: 5, 4, 3.5, 2.5 mm.
The anatomy is an analytic shape; the fraction is its mean over 8 x 8 x 4 points of each voxel, and
the image mixes the tissues by their fractions. The raters displace the true edge smoothly, each
differently; the mean Dice of their gray matter with the majority of the four is 89 to 93 % at every
site.
"""
"""What the README says about the files."""

GRAY, WHITE = 1, 2
"""The codes of a mask."""

OFFSETS = (0.04, -0.03, 0.0, -0.01)
"""How far outside the true edge each rater draws on average, mm."""

RATER_SD = 0.13
"""Standard deviation in mm of a rater's edge; it makes the Dice with the majority about 91 %."""

MAJORITY_SHIFT = 0.3
"""'More than half of four' needs the third-highest vote, which is 0.3 standard deviations below
the mean (the normal order statistic); all raters draw that much outside, so that their majority
is neither larger nor smaller than the truth."""

RATER_SMOOTHNESS = 1.3
"""Over how many mm in plane a rater's displacement changes."""

VISIT_SHIFT = (0.8, 0.05)
"""How far a visit is from the subject's first position at most: mm along both axes of the slices,
and radians."""

EDGE_MARGIN = 3.0
"""A random field is needed only in the box of everything within so many mm of the edge."""


@dataclass(frozen=True)
class Anatomy:
    """The shape parameters of one subject; lengths in mm, angles in radians."""

    center_x: Curve
    center_y: Curve
    angle: Curve
    cord_a: Curve
    """half the cord's width"""
    cord_b: Curve
    """half the cord's depth"""
    size: Curve
    """factor on the butterfly"""
    ventral: Curve
    """factor on the ventral horns' radii"""
    dorsal: Curve
    """factor on the dorsal horns' thickness"""
    reach: Curve
    """how far the dorsal horns reach to the back"""
    spread: Curve
    """how far apart the dorsal horns' tips are from the midline"""
    asymmetry: float
    """relative difference of the two sides"""
    sac_a: float
    """space between cord and dura at the sides"""
    sac_b: float
    """the same in front and at the back"""
    sac_shift: float
    """how far the sac's center is in front of the cord's"""

    def local(self, x: FloatArray, y: FloatArray, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return coordinates about the cord's own center, along its own axes."""
        return rotate(x - self.center_x(z), y - self.center_y(z), self.angle(z))

    def sac(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the depth in the dural sac: cerebrospinal fluid, and the cord in it."""
        u, v = self.local(x, y, z)
        a, b = self.cord_a(z) + self.sac_a, self.cord_b(z) + self.sac_b
        return ellipse(u, v - self.sac_shift, a, b)

    def cord(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the depth in the cord: an ellipse without the anterior median fissure."""
        u, v = self.local(x, y, z)
        a, b = self.cord_a(z), self.cord_b(z)
        front, floor = b + 0.5, 0.42 * b
        middle, radius = np.zeros_like(b), np.full_like(b, 0.1)
        fissure = horn(u, v, (middle, floor, 0.5 * radius), (middle, front, radius))
        return np.minimum(ellipse(u, v, a, b), -fissure)

    def gray(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the depth in the gray matter: round ventral horns, thin dorsal ones, a bridge."""
        u, v = self.local(x, y, z)
        side = np.abs(u) * (1 + self.asymmetry * np.sign(u))
        scale = self.size(z)
        butterfly = scale * self._wing(side / scale, v / scale, z)
        return np.minimum(butterfly, self.cord(x, y, z))

    def _wing(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the depth in the right half of a butterfly of nominal size (x >= 0)."""
        ventral, dorsal = self.ventral(z), self.dorsal(z)
        ones = np.ones_like(ventral)
        head_x, head_y = rotate(x - 2.05, y - 1.05, np.asarray(-0.5))
        head = ellipse(head_x, head_y, 1.2 * ventral, 0.88 * ventral)
        neck_end = (1.15 * ones, -0.35 * ones, 0.5 * ones)
        neck = horn(x, y, (1.75 * ones, 0.8 * ones, 0.62 * ones), neck_end)
        tip = (self.spread(z), -self.reach(z), 0.3 * dorsal)
        tail = horn(x, y, (1.1 * ones, -0.4 * ones, 0.48 * dorsal), tip)
        bridge_end = (1.2 * ones, -0.1 * ones, 0.34 * ones)
        bridge = horn(x, y, (0 * ones, -0.1 * ones, 0.3 * ones), bridge_end)
        return blend(blend(head, neck, 0.5), blend(tail, bridge, 0.4), 0.4)


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """Sample a subject: every quantity has its own mean, and its own slow wave along the cord."""

    def curve(mean: float, between: float, along: float) -> Curve:
        """Sample a curve with the half range `between` subjects and the amplitude `along` z."""
        return Curve(
            mean=mean + between * rng.uniform(-1, 1),
            amplitude=along * rng.uniform(0.4, 1),
            wavelength=rng.uniform(40, 80),
            phase=rng.uniform(0, 2 * np.pi),
        )

    return Anatomy(
        center_x=curve(0, 1.0, 0.7),
        center_y=curve(0, 1.0, 0.8),
        angle=curve(0, 0.07, 0.03),
        cord_a=curve(6.5, 0.4, 0.25),
        cord_b=curve(4.2, 0.25, 0.2),
        size=curve(0.98, 0.06, 0.04),
        ventral=curve(1.0, 0.1, 0.12),
        dorsal=curve(1.0, 0.12, 0.12),
        reach=curve(2.75, 0.2, 0.15),
        spread=curve(2.35, 0.25, 0.15),
        asymmetry=rng.uniform(-0.04, 0.04),
        sac_a=rng.uniform(1.8, 3.2),
        sac_b=rng.uniform(1.6, 2.4),
        sac_shift=rng.uniform(0.2, 1.0),
    )


def rater_mask(
    rng: np.random.Generator, gray: FloatArray, cord: FloatArray, zooms: Zooms, offset: float
) -> NDArray[np.uint8]:
    """Return one rater's mask (X, Y, Z): 1 gray matter, 2 white matter, 0 the rest.

    `gray` and `cord` are levels in mm (`partial_volume.Coverage`); `offset` is in mm.
    """
    sigmas = (RATER_SMOOTHNESS / zooms[0], RATER_SMOOTHNESS / zooms[1], 0.5)

    def displace(level: FloatArray) -> BoolArray:
        inside = np.zeros(level.shape, dtype=bool)
        box = find_objects((level > -EDGE_MARGIN).astype(int))[0]
        deviation = edge_deviation(rng, level[box].shape, sigmas)
        inside[box] = level[box] + (offset + RATER_SD * (MAJORITY_SHIFT + deviation)) >= 0
        return inside

    is_gray, is_cord = displace(gray), displace(cord)
    mask = np.where(is_cord, WHITE, 0)
    mask[is_gray & is_cord] = GRAY
    return mask.astype(np.uint8)


@dataclass(frozen=True, eq=False)
class CordSubject:
    """Everything about one synthetic scan; volumes are (X, Y, Z)."""

    anatomy: Anatomy
    affine: Float64Array
    tissues: Tissues
    signal: FloatArray
    """noise-free, before the receive field"""
    field: FloatArray
    """the receive field, times the tissues' unevenness"""
    image: NDArray[np.int16]
    masks: tuple[NDArray[np.uint8], ...]
    """one for each rater"""


@dataclass(frozen=True)
class Visit:
    """A further scan of a subject: the same anatomy and slices, other position and noise."""

    number: int
    """From 1; subjects have as many as are asked for."""
    atrophy: float = 0.0
    """Fraction of the gray matter's area that every slice has lost, in [0, 1)."""

    def __call__(self, rng: np.random.Generator, anatomy: Anatomy) -> Anatomy:
        """Return the anatomy of this visit, moved and turned in plane by up to VISIT_SHIFT."""
        x, y = rng.uniform(-VISIT_SHIFT[0], VISIT_SHIFT[0], 2)
        turn, scale = rng.uniform(-VISIT_SHIFT[1], VISIT_SHIFT[1]), np.sqrt(1 - self.atrophy)
        center_x, center_y, angle, size = (
            getattr(anatomy, name) for name in ("center_x", "center_y", "angle", "size")
        )
        return replace(
            anatomy,
            center_x=replace(center_x, mean=center_x.mean + x),
            center_y=replace(center_y, mean=center_y.mean + y),
            angle=replace(angle, mean=angle.mean + turn),
            size=replace(size, mean=scale * size.mean, amplitude=scale * size.amplitude),
        )


def make_subject(site: int, number: int, seed: int, visit: Visit | None = None) -> CordSubject:
    """Return subject `number` of site `site` (both from 1), determined by these and the seed.

    With a `visit`, it is a further scan of the subject.
    """
    rng = np.random.default_rng([seed, site, number])
    protocol = SITES[site - 1]
    shape = (*protocol.matrix, int(rng.integers(*protocol.slices, endpoint=True)))
    zooms, scanner = protocol.zooms, protocol.scanner
    anatomy = sample_anatomy(rng)
    if visit is not None:
        rng = np.random.default_rng([seed, site, number, visit.number])
        anatomy = visit(rng, anatomy)
    affine = sample_affine(rng, shape, zooms, NECK)
    depths = (anatomy.gray, anatomy.cord, anatomy.sac)  # nested
    gray, cord, sac = (cover_slices(depth, shape, zooms) for depth in depths)
    tissues = Tissues(
        gray=gray.fraction,
        white=cord.fraction - gray.fraction,
        fluid=sac.fraction - cord.fraction,
    )
    signal = mix_tissues(tissues, surroundings(rng, sac.level, zooms), scanner)
    field = receive_field(rng, shape, zooms, scanner)
    image = add_noise(rng, signal * field, scanner)
    masks = tuple(rater_mask(rng, gray.level, cord.level, zooms, offset) for offset in OFFSETS)
    return CordSubject(anatomy, affine, tissues, signal, field, image, masks)


def write_scgm(folder: Path, subjects: int, seed: int) -> None:
    """Write `subjects` subjects into `folder`, at the four sites in turn."""
    for index in range(subjects):
        number, site = index // len(SITES) + 1, index % len(SITES) + 1
        subject = make_subject(site, number, seed)
        volumes: dict[str, AnyArray] = {
            "image": subject.image,
            "fraction": subject.tissues.gray.astype(np.float32),
            **{f"mask-r{rater}": mask for rater, mask in enumerate(subject.masks, start=1)},
        }
        for what, data in volumes.items():
            path = folder / f"site{site}-sc{number:02d}-{what}.nii.gz"
            save_nifti(path, data, subject.affine)
