"""Summarize several predictions of a scan voxel by voxel, keep their masks, and write the maps.

Entropies are in nats: at most ln 2 = 0.693 for a voxel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from softseg.core.types import BoolArray, Float32Array, FloatArray
from softseg.data.nifti.io import file_stem
from softseg.inference.write import SOFTWARE, write_with_sidecar

_MAPS = {
    "mean": ("desc-mean_probseg", "mean of the samples, 0 to 1"),
    "variance": ("desc-variance_uncertainty", "variance of the samples, 0 to 0.25"),
    "entropy": ("desc-entropy_uncertainty", "entropy of the mean in nats, 0 to 0.693"),
    "mutual_information": (
        "desc-mutualinfo_uncertainty",
        "entropy of the mean less the mean entropy of the samples in nats, 0 to 0.693",
    ),
}
"""Field of `Uncertainty` -> ending of the file's name, and description."""


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


def collect_samples(
    samples: Iterable[tuple[FloatArray, Sequence[BoolArray]]],
) -> tuple[Uncertainty, SampleMasks]:
    """Summarize samples, one in memory at a time; of each only its masks are kept, packed.

    A sample is a soft prediction (K, X, Y, Z) in [0, 1] and its K masks. Raises ValueError if there
    is none.
    """
    packed: list[NDArray[np.uint8]] = []

    def soft_predictions() -> Iterator[FloatArray]:
        for soft, masks in samples:
            packed.append(np.stack([np.packbits(mask) for mask in masks]))
            yield soft

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


def write_maps(
    folder: Path,
    source: Path,
    targets: Sequence[str],
    uncertainty: Uncertainty,
    metadata: Mapping[str, object],
    named: Path | None = None,
) -> list[Path]:
    """Write each target's maps as float32 on the grid of `source`, with sidecars.

    `<source>_label-<target>_desc-mean_probseg.nii.gz`, and `_desc-variance_uncertainty`,
    `_desc-entropy_uncertainty`, `_desc-mutualinfo_uncertainty`. Returns the NIfTI paths. The
    names begin with that of `named`, if given, instead of `source`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for k, target in enumerate(targets):
        for field, (ending, description) in _MAPS.items():
            path = folder / f"{file_stem(named or source)}_label-{target}_{ending}.nii.gz"
            own = {"Label": target, "Description": description, "GeneratedBy": [SOFTWARE]}
            data = getattr(uncertainty, field)[k]
            write_with_sidecar(path, data, source, np.float32, {**metadata, **own})
            written.append(path)
    return written
