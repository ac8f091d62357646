"""What a mask's voxels mean: label codes, or the soft mask itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from softseg.data.nifti import FileError

TOLERANCE = 1e-3
"""How far a stored value may lie from what it means: scaled integers and resampled ones."""

Array = NDArray[np.float32]


def soft_mask(path: Path, data: Array, name: str, values: Sequence[float] | None) -> Array:
    """The mask of target `name` in [0, 1], from what the file at `path` holds.

    With label codes `values`: 1 where the voxel is one of them. Without: the voxels themselves,
    clipped to [0, 1]. Raises FileError for voxels outside [0, 1] where no codes were chosen, and
    for fractions where codes were.
    """
    return _as_it_is(path, data, name) if values is None else _coded(path, data, name, values)


def _as_it_is(path: Path, data: Array, name: str) -> Array:
    if data.min() < -TOLERANCE or data.max() > 1 + TOLERANCE:
        wrong = f"holds {_values_in(data)}, so it is no soft mask between 0 and 1"
        raise FileError(path, wrong, f"choose the codes with dataset.targets.{name}.values")
    return np.clip(data, 0, 1)


def _coded(path: Path, data: Array, name: str, values: Sequence[float]) -> Array:
    mask = np.zeros(data.shape, dtype=bool)
    for code in values:
        mask |= np.abs(data - np.float32(code)) <= TOLERANCE
    if (~mask & (np.abs(data - np.rint(data)) > TOLERANCE)).any():
        wrong = f"holds {_values_in(data)}, fractions, but codes were chosen"
        raise FileError(path, wrong, f"remove dataset.targets.{name}.values to keep it soft")
    return mask.astype(np.float32)


def _values_in(data: Array, limit: int = 10) -> str:
    found = np.unique(data)
    shown = ", ".join(f"{value:g}" for value in found[:limit])
    more = f" .. {found[-1]:g} ({len(found)} values)" if len(found) > limit else ""
    return f"the values {shown}{more}"
