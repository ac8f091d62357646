"""How far the samples of a scan agree on each connected structure of its final mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from softseg.core.types import BoolArray, Float64Array, FloatArray
from softseg.data.nifti.grid import Grid
from softseg.inference.uncertainty.maps import Masks
from softseg.metrics.lesions import Components, LesionRules, components

Row = dict[str, object]

_NOWHERE = (np.zeros(0, np.intp),)
_AT_ONCE = 1 << 20
"""Voxels in one matrix product; float32 counts to 2^24 exactly."""


def score_structures(
    mask: BoolArray, samples: Masks, k: int, entropy: FloatArray, grid: Grid, rules: LesionRules
) -> list[Row]:
    """A row for `all` of a target, and one for each structure, the largest first.

    A voxel of a sample belongs to the nearest structure that its blob touches; blobs that touch
    none count in `all` only.

    Args:
        mask: the final mask (X, Y, Z).
        samples: the masks of the samples.
        k: which of their targets.
        entropy: predictive entropy (X, Y, Z) in nats.
        grid: where the voxels lie.
        rules: which voxels touch.

    Returns:
        `structure` (`all`, 1, 2 ..); `voxels`, `volume_ml`, of the final mask; `i`, `j`, `k`, the
        voxel nearest to its middle; `dice_among_samples`, the mean over all pairs of samples, in
        percent; `volume_cv`, standard deviation (of the N) over mean of the samples' volumes;
        `mean_entropy` over its voxels in the final mask, in nats. NaN where nothing is there.
    """
    anywhere = samples.any(k)
    votes = samples.within(k, anywhere)
    rows: list[Row] = [{"structure": "all", **_row(mask, votes, entropy, grid)}]
    if not mask.any():
        return rows
    [box] = ndimage.find_objects((anywhere | mask).view(np.uint8))
    found = components(mask[box], rules.connectivity)
    whose = _territories((anywhere | mask)[box], found, grid, rules)[anywhere[box]]
    theirs = ndimage.value_indices(whose, ignore_value=0)
    order = np.argsort(-found.sizes, kind="stable") + 1
    places = ndimage.find_objects(found.labels)
    for number, label in enumerate(order.tolist(), start=1):
        place = places[label - 1]
        one, (voted,) = found.labels[place] == label, theirs.get(label, _NOWHERE)
        row = _row(one, votes[:, voted], entropy[box][place], grid)
        corner = [outer.start + inner.start for outer, inner in zip(box, place, strict=True)]
        rows.append({"structure": number, **row, **_middle(one, corner, grid)})
    return rows


def _territories(
    blobs: BoolArray, found: Components, grid: Grid, rules: LesionRules
) -> NDArray[np.int32]:
    """The structure of each voxel of the blobs, (X, Y, Z): the nearest, if its blob touches it."""
    at = ndimage.distance_transform_edt(
        found.labels == 0, sampling=grid.zooms.tolist(), return_distances=False, return_indices=True
    )
    nearest = tuple(at)
    blob = components(blobs, rules.connectivity).labels
    return np.where(blobs & (blob == blob[nearest]), found.labels[nearest], 0)


def _middle(one: BoolArray, corner: Sequence[int], grid: Grid) -> Row:
    """The voxel of a structure, in a box that begins at `corner`, nearest to its center of mass."""
    voxels = np.argwhere(one)
    away = np.linalg.norm((voxels - voxels.mean(axis=0)) * grid.zooms, axis=1)
    return dict(zip("ijk", (voxels[away.argmin()] + corner).tolist(), strict=True))


def _row(mask: BoolArray, votes: BoolArray, entropy: FloatArray, grid: Grid) -> Row:
    count = int(mask.sum())
    sizes = votes.sum(axis=1, dtype=np.float64)
    mean = float(sizes.mean())
    return {
        "voxels": count,
        "volume_ml": count * grid.voxel_ml,
        "dice_among_samples": mean_pairwise_dice(votes),
        "volume_cv": float(sizes.std()) / mean if mean else float("nan"),
        "mean_entropy": float(entropy[mask].mean(dtype=np.float64)) if count else float("nan"),
    }


def mean_pairwise_dice(votes: BoolArray) -> float:
    """Mean Dice [%] over all pairs of N masks of V voxels, (N, V); NaN if no pair has any voxel.

    Pairs of two empty masks are left out, as Dice is not defined there.
    """
    one, other = np.triu_indices(len(votes), k=1)
    both = _shared(votes)[one, other]
    sizes = votes.sum(axis=1, dtype=np.float64)
    total = sizes[one] + sizes[other]
    defined = total > 0
    return float((200 * both[defined] / total[defined]).mean()) if defined.any() else float("nan")


def _shared(votes: BoolArray) -> Float64Array:
    """How many voxels each two of the N masks share, (N, N)."""
    shared = np.zeros((len(votes), len(votes)))
    for first in range(0, votes.shape[1], _AT_ONCE):
        part = votes[:, first : first + _AT_ONCE].astype(np.float32)
        shared += part @ part.T
    return shared
