"""What several predictions of a scan say together: voxel by voxel, and their masks kept.

Entropies are in nats: a voxel is at most ln 2 = 0.693 uncertain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from softseg.core.types import BoolArray, Float32Array, FloatArray


@dataclass(frozen=True, eq=False)
class Drawn:
    """One sample: a scan's soft predictions (K, X, Y, Z) in [0, 1] and the K masks of these."""

    soft: FloatArray
    masks: Sequence[BoolArray]


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Of N samples, each (K, X, Y, Z) float32."""

    mean: Float32Array  # in [0, 1]
    variance: Float32Array  # of the N (not N - 1), in [0, 0.25]
    entropy: Float32Array  # of the mean, in nats: how uncertain the network is (total)
    mutual_information: Float32Array  # entropy minus the samples' mean entropy


@dataclass(frozen=True, eq=False)
class Masks:
    """The samples' masks of K targets, a bit a voxel."""

    packed: NDArray[np.uint8]  # (N, K, bytes)
    shape: tuple[int, ...]  # (X, Y, Z)

    def any(self, k: int) -> BoolArray:
        """Where any sample has target k, (X, Y, Z)."""
        return self._whole(np.bitwise_or.reduce(self.packed[:, k]))

    def within(self, k: int, where: BoolArray) -> BoolArray:
        """What each sample says of target k at V chosen voxels: (N, V), for `where` (X, Y, Z)."""
        return np.stack([self._whole(one)[where] for one in self.packed[:, k]])

    def _whole(self, packed: NDArray[np.uint8]) -> BoolArray:
        count = int(np.prod(self.shape))
        return np.unpackbits(packed, count=count).view(np.bool_).reshape(self.shape)


def binary_entropy(probability: FloatArray) -> Float32Array:
    """-p ln p - (1 - p) ln(1 - p) of values in [0, 1], any shape, in nats."""
    return np.asarray(entr(probability) + entr(1 - probability), dtype=np.float32)


def gather(samples: Iterable[Drawn]) -> tuple[Uncertainty, Masks]:
    """Summarize samples that are taken in one at a time; of each only its masks are kept, packed.

    Raises ValueError for none.
    """
    packed: list[NDArray[np.uint8]] = []

    def soft() -> Iterator[FloatArray]:
        for one in samples:
            packed.append(np.stack([np.packbits(mask) for mask in one.masks]))
            yield one.soft

    found = summarize(soft())
    return found, Masks(np.stack(packed), found.mean.shape[1:])


def summarize(samples: Iterable[FloatArray]) -> Uncertainty:
    """What samples (K, X, Y, Z) say together, one in memory at a time.

    Take them on the scan's own grid: entropy and interpolation do not commute. Raises ValueError
    for none.
    """
    # Welford's sums: the difference of two large sums would lose small variances in float32
    mean, squares, entropies = (np.zeros((), np.float32) for _ in range(3))
    count = 0
    for count, one in enumerate(samples, start=1):
        soft = np.asarray(one, dtype=np.float32)
        away = soft - mean
        mean = mean + away / np.float32(count)
        squares = squares + away * (soft - mean)
        entropies = entropies + binary_entropy(soft)
    if not count:
        raise ValueError("there is no sample")
    mean = np.clip(mean, 0, 1)
    entropy = binary_entropy(mean)
    information = np.maximum(entropy - entropies / np.float32(count), 0)  # < 0 by rounding only
    return Uncertainty(mean, squares / np.float32(count), entropy, information)
