"""Softening by a distance that grows where the intensity of the scan changes."""

from __future__ import annotations

from itertools import product
from typing import ClassVar, Literal

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from softseg.core.types import BoolArray, Float32Array, Float64Array, FloatArray
from softseg.data.softening.base import Length, LocalMethod, check_width
from softseg.data.softening.distance import Shape, ramp
from softseg.data.softening.surface import surface_distance


class Geodesic(LocalMethod):
    """A ramp of the geodesic distance to the surface: soft where the scan shows no clear edge.

    As `distance`, with the length of the shortest path from the surface, on which a step of s mm
    over an intensity difference of i standard deviations is sqrt(s^2 + (intensity_mm i)^2) long.
    Where the scan has one intensity, y is that of `distance`; where a step of intensity is at the
    surface, y stays close to 0 and 1. Range: 0 to 1; the mask at 0.5 does not change.

    The paths lead from voxel to voxel over 26 neighbors; the distance is the exact one times the
    ratio of their lengths with and without the scan. Intensities are in standard deviations of the
    whole scan; of several contrasts the differences add up as a sum of squares. After the geodesic
    distance of Wang et al., IEEE TPAMI 2019 (DeepIGeoS, arXiv 1707.00652), which Vasudeva, Dolz and
    Lombaert use for label smoothing (GeoLS, MIDL 2023); the ramp is ours.

    Example: `soften: {geodesic: {width_mm: 2.0, intensity_mm: 1.0}}`
    """

    name: Literal["geodesic"] = "geodesic"
    needs_edge: ClassVar[bool] = True
    width_mm: Length
    """Total width of the ramp in mm where the scan is flat, above 0."""
    shape: Shape = "linear"
    """`linear`: a straight ramp; `sigmoid`: steeper at the surface, flatter at both ends."""
    intensity_mm: Length = 1.0
    """How many mm a difference of one standard deviation of the scan's intensity counts, above
    0. Larger values follow the scan more; the noise of the scan counts, too."""

    def __call__(
        self, mask: Float32Array, zooms: Float64Array, image: Float32Array
    ) -> Float32Array:
        """Return the soft mask; the scan is brought to standard deviations first."""
        deviations = image.std(axis=(1, 2, 3), keepdims=True, dtype=np.float64)
        scaled = image * (self.intensity_mm / np.where(deviations > 0, deviations, 1))
        return super().__call__(mask, zooms, scaled.astype(np.float32))

    def reach_mm(self, zooms: Float64Array) -> float:  # noqa: ARG002
        """Return how far from the foreground voxels may change."""
        return self.width_mm / 2

    def soften(self, mask: Float32Array, zooms: Float64Array, image: Float32Array) -> FloatArray:
        """Return the ramp; `image` (C, X, Y, Z) is in mm."""
        inside = mask > 0.5
        distance = surface_distance(inside, zooms, self.width_mm / 2)
        check_width(self.width_mm, -distance.min())
        band = np.abs(distance) < self.width_mm / 2
        if band.any():  # a geodesic distance is never shorter than the other one
            with_image = _path_lengths(inside, band, zooms, image)
            without = _path_lengths(inside, band, zooms, np.zeros_like(image))
            distance[band] *= np.where(np.isfinite(without), with_image / without, 1)
        return ramp(distance, self.width_mm, self.shape)


def _path_lengths(
    inside: BoolArray, band: BoolArray, zooms: Float64Array, image: FloatArray
) -> Float64Array:
    """Return the length in mm of the shortest path from the surface to each voxel of a band, (N,).

    `image` (C, X, Y, Z) is in mm. A path stays in the band (X, Y, Z) and on its side of the
    surface, which is in the middle between two voxels of both sides. Infinite for voxels without
    a path.
    """
    count = int(band.sum())
    number = np.full(band.shape, -1)
    number[band] = np.arange(count)
    start = np.full(count, np.inf)
    edges = []
    for offset in [step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]:
        one, other = _pairs(offset, band.shape)
        steps = np.square(image[(slice(None), *other)] - image[(slice(None), *one)]).sum(axis=0)
        length = np.sqrt(np.square(np.array(offset) * zooms).sum() + steps)
        crosses = inside[one] != inside[other]
        for side in (one, other):
            used = crosses & band[side]
            np.minimum.at(start, number[side][used], length[used] / 2)
        used = ~crosses & band[one] & band[other]
        edges.append((number[one][used], number[other][used], length[used]))
    used = np.flatnonzero(np.isfinite(start))
    edges.append((np.full(len(used), count), used, start[used]))
    rows, columns, lengths = (np.concatenate(part) for part in zip(*edges, strict=True))
    graph = coo_matrix((lengths, (rows, columns)), shape=(count + 1, count + 1)).tocsr()
    return np.asarray(dijkstra(graph, directed=False, indices=[count])[0, :count])


def _pairs(
    offset: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the slices of all voxels with a neighbor at an offset, and of these neighbors."""
    one = tuple(slice(max(0, -o), size - max(0, o)) for o, size in zip(offset, shape, strict=True))
    other = tuple(
        slice(max(0, o), size - max(0, -o)) for o, size in zip(offset, shape, strict=True)
    )
    return one, other
