"""Summarize several predictions of a scan voxel by voxel, and keep their masks.

Entropies are in nats: at most ln 2 = 0.693 for a voxel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from softseg.core.types import BoolArray, Float32Array, FloatArray


@dataclass(frozen=True, eq=False)
class Prediction:
    """One sample: a scan's soft predictions (K, X, Y, Z) in [0, 1] and their K masks."""

    soft: FloatArray
    masks: Sequence[BoolArray]


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Maps over N samples, each (K, X, Y, Z) float32."""

    mean: Float32Array  # in [0, 1]
    variance: Float32Array  # population variance (divided by N, not N - 1), in [0, 0.25]
    entropy: Float32Array  # of the mean, in nats: the total (predictive) uncertainty
    mutual_information: Float32Array  # entropy minus the samples' mean entropy


@dataclass(frozen=True, eq=False)
class SampleMasks:
    """The samples' masks of K targets, one bit per voxel."""

    packed: NDArray[np.uint8]  # (N, K, bytes)
    shape: tuple[int, ...]  # (X, Y, Z)

    def union(self, k: int) -> BoolArray:
        """Where any sample has target k, (X, Y, Z)."""
        return self._unpacked(np.bitwise_or.reduce(self.packed[:, k]))

    def within(self, k: int, region: BoolArray) -> BoolArray:
        """Each sample's mask of target k at the V voxels of a region (X, Y, Z): (N, V)."""
        return np.stack([self._unpacked(mask)[region] for mask in self.packed[:, k]])

    def _unpacked(self, packed: NDArray[np.uint8]) -> BoolArray:
        count = int(np.prod(self.shape))
        return np.unpackbits(packed, count=count).view(np.bool_).reshape(self.shape)


def binary_entropy(probability: FloatArray) -> Float32Array:
    """-p ln p - (1 - p) ln(1 - p) of values in [0, 1], any shape, in nats."""
    return np.asarray(entr(probability) + entr(1 - probability), dtype=np.float32)


def collect_samples(samples: Iterable[Prediction]) -> tuple[Uncertainty, SampleMasks]:
    """Summarize samples, one in memory at a time; of each only its masks are kept, packed.

    Raises ValueError if there is no sample.
    """
    packed: list[NDArray[np.uint8]] = []

    def soft_predictions() -> Iterator[FloatArray]:
        for sample in samples:
            packed.append(np.stack([np.packbits(mask) for mask in sample.masks]))
            yield sample.soft

    uncertainty = summarize(soft_predictions())
    return uncertainty, SampleMasks(np.stack(packed), uncertainty.mean.shape[1:])


def summarize(samples: Iterable[FloatArray]) -> Uncertainty:
    """Return the maps of soft samples (K, X, Y, Z), one in memory at a time.

    Take the samples on the scan's own grid: entropy and interpolation do not commute. Raises
    ValueError if there is no sample.
    """
    # Welford's sums: the difference of two large sums would lose small variances in float32
    mean, squares, entropies = (np.zeros((), np.float32) for _ in range(3))
    count = 0
    for count, sample in enumerate(samples, start=1):
        soft = np.asarray(sample, dtype=np.float32)
        deviation = soft - mean
        mean = mean + deviation / np.float32(count)
        squares = squares + deviation * (soft - mean)
        entropies = entropies + binary_entropy(soft)
    if not count:
        raise ValueError("there is no sample")
    mean = np.clip(mean, 0, 1)
    entropy = binary_entropy(mean)
    information = np.maximum(entropy - entropies / np.float32(count), 0)  # < 0 by rounding only
    return Uncertainty(mean, squares / np.float32(count), entropy, information)
