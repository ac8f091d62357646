"""How far the samples of a scan agree on each connected structure: the rows of uncertainty.csv."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from softseg.core.errors import UserError
from softseg.core.files import naming_file, write_atomically
from softseg.core.locks import file_lock
from softseg.core.types import BoolArray, FloatArray
from softseg.data.nifti.grid import Grid
from softseg.inference.uncertainty.maps import SampleMasks
from softseg.metrics.lesions import Components, LesionRules, components

Row = dict[str, object]

_LAST_COLUMNS = ("i", "j", "k", "method", "samples")
_NO_VOXELS = (np.zeros(0, np.intp),)
_CHUNK = 1 << 20
"""Voxels in one matrix product; float32 counts to 2^24 exactly."""


def score_structures(
    mask: BoolArray,
    samples: SampleMasks,
    k: int,
    entropy: FloatArray,
    grid: Grid,
    rules: LesionRules,
) -> list[Row]:
    """Return a row for `all` of a target, and one for each structure, the largest first.

    A voxel of a sample belongs to the nearest structure that its connected component touches;
    components that touch none count in `all` only.

    Args:
        mask: the final mask (X, Y, Z).
        samples: the masks of the samples.
        k: index of the target in them.
        entropy: predictive entropy (X, Y, Z) in nats.
        grid: the grid of the mask.
        rules: which voxels touch.

    Returns:
        `structure` (`all`, 1, 2 ..); `voxels`, `volume_ml` of the final mask; `i`, `j`, `k`, the
        voxel nearest to its center of mass; `dice_among_samples`, the mean over all pairs of
        samples, in percent; `volume_cv`, standard deviation (of the N) over mean of the samples'
        volumes; `mean_entropy` over its voxels in the final mask, in nats. NaN if there is no
        voxel.
    """
    union = samples.union(k)
    votes = samples.within(k, union)
    rows: list[Row] = [{"structure": "all", **_scores(mask, votes, entropy, grid)}]
    if not mask.any():
        return rows
    [box] = ndimage.find_objects((union | mask).view(np.uint8))
    structures = components(mask[box], rules.connectivity)
    labels = _nearest_component((union | mask)[box], structures, grid, rules)[union[box]]
    columns = ndimage.value_indices(labels, ignore_value=0)  # of `votes`, for each structure
    boxes = ndimage.find_objects(structures.labels)
    largest_first = np.argsort(-structures.sizes, kind="stable") + 1
    for number, label in enumerate(largest_first.tolist(), start=1):
        inner = boxes[label - 1]
        structure = structures.labels[inner] == label
        (own,) = columns.get(label, _NO_VOXELS)
        row = _scores(structure, votes[:, own], entropy[box][inner], grid)
        voxels = np.argwhere(structure)
        distance = np.linalg.norm((voxels - voxels.mean(axis=0)) * grid.zooms, axis=1)
        corner = [outside.start + inside.start for outside, inside in zip(box, inner, strict=True)]
        middle = (voxels[distance.argmin()] + corner).tolist()
        rows.append({"structure": number, **row, **dict(zip("ijk", middle, strict=True))})
    return rows


def _nearest_component(
    foreground: BoolArray, structures: Components, grid: Grid, rules: LesionRules
) -> NDArray[np.int32]:
    """Label each foreground voxel (X, Y, Z) with the nearest structure, if they are connected."""
    indices = ndimage.distance_transform_edt(
        structures.labels == 0,
        sampling=grid.zooms.tolist(),
        return_distances=False,
        return_indices=True,
    )
    nearest = tuple(indices)
    connected = components(foreground, rules.connectivity).labels
    touches = foreground & (connected == connected[nearest])
    return np.where(touches, structures.labels[nearest], 0)


def _scores(mask: BoolArray, votes: BoolArray, entropy: FloatArray, grid: Grid) -> Row:
    """The scores of one mask (X, Y, Z) with the samples' votes (N, V)."""
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
    """Return the mean Dice [%] over all pairs of N masks of V voxels, (N, V).

    Pairs of two empty masks are left out, as Dice is undefined for them; NaN if all are.
    """
    shared = np.zeros((len(votes), len(votes)))  # voxels that two masks have in common
    for start in range(0, votes.shape[1], _CHUNK):
        part = votes[:, start : start + _CHUNK].astype(np.float32)
        shared += part @ part.T
    first, second = np.triu_indices(len(votes), k=1)
    both = shared[first, second]
    sizes = votes.sum(axis=1, dtype=np.float64)
    total = sizes[first] + sizes[second]
    defined = total > 0
    return float((200 * both[defined] / total[defined]).mean()) if defined.any() else float("nan")


def write_scores(path: Path, rows: Sequence[Row]) -> None:
    """Add a scan's rows to the table of all scans, replacing earlier ones of the same targets.

    Several processes may add rows at the same time. Raises UserError if the file is not such a
    table.
    """
    lock = path.with_name(f".{path.name}.lock")
    with file_lock(lock):
        write_atomically(path, _with_earlier_rows(path, pd.DataFrame(rows)).to_csv(index=False))
        with suppress(OSError):  # Windows keeps open files
            lock.unlink()


def _with_earlier_rows(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table after those that the file has of other scans and targets."""
    if path.is_file():
        types = {"scan": str, "target": str, "structure": str}  # a scan may be called NA
        try:
            with naming_file(path):
                earlier = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
            earlier = earlier[~_keys(earlier).isin(_keys(table))]
        except (KeyError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}); delete it, or move it away") from error
        table = pd.concat([earlier, table], ignore_index=True)
    order = [name for name in table if name not in _LAST_COLUMNS]
    order += [name for name in _LAST_COLUMNS if name in table]
    integers = {name: table[name].astype("Int64") for name in "ijk" if name in table}
    return table.assign(**integers)[order]


def _keys(table: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(table[["scan", "target"]])
