"""A subject's files read one after the other, noting every problem instead of stopping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from softseg.core.types import Float32Array
from softseg.data.nifti.grid import Grid, corner_distance, regrid, same_place
from softseg.data.nifti.io import FileError, Volume, read_volume
from softseg.data.targets import Target

_MEND = "resample it onto that image's grid, or let dataset.on_grid_mismatch: resample do so"


@dataclass
class SubjectReader:
    """Reads each file once and compares its grid with that of the first image read.

    With `regrid`, what lies on another grid is resampled onto that of the first image.
    """

    regrid: bool = False
    frame: int | None = None  # index of the frame, for 4D files
    problems: list[str] = field(default_factory=list)
    reference: Volume | None = None
    _reference_path: Path = Path()
    _seen: dict[Path, Volume | None] = field(default_factory=dict)

    def image(self, path: Path, *, mask: bool = False) -> Float32Array | None:
        """An image, or the ROI's mask, on the reference's grid; None after noting what is wrong."""
        volume = self.placed(path)
        return None if volume is None else self._on_reference(volume, volume.data, mask=mask)

    def placed(self, path: Path) -> Volume | None:
        """A file that can be used; None after noting what is wrong."""
        if path not in self._seen:
            try:
                self._seen[path] = self._compared(path, read_volume(path, self.frame))
            except FileError as error:
                self.problems.append(str(error))
                self._seen[path] = None
        return self._seen[path]

    def masks(
        self, files: Mapping[str, Path], name: str, target: Target
    ) -> dict[str, Float32Array]:
        """Rater -> mask of one target in [0, 1]; those that are wrong are noted and left out."""
        masks = {}
        for rater, path in files.items():
            volume = self.placed(path)
            if volume is None:
                continue
            try:
                # codes are chosen before anything is interpolated: there is nothing between them
                mask = soft_mask(path, volume.data, name, target.values)
                masks[rater] = self._on_reference(volume, mask, mask=True)
            except FileError as error:
                self.problems.append(str(error))
        return masks

    def _compared(self, path: Path, volume: Volume) -> Volume:
        if self.reference is None:
            self.reference, self._reference_path = volume, path
        ours, theirs = volume.grid, self.reference.grid
        if self.regrid:
            if not _overlap(ours, theirs):
                wrong = f"lies wholly beside {self._reference_path}"
                raise FileError(path, wrong, "mend its affine, or take the file that belongs there")
            return volume
        if ours.shape != theirs.shape:
            wrong = f"has the shape {ours.shape}, but {self._reference_path} has {theirs.shape}"
            raise FileError(path, wrong, _MEND)
        if not same_place(ours, theirs):
            away = corner_distance(ours, theirs)
            wrong = f"lies up to {away:.3g} mm from its place on {self._reference_path}"
            raise FileError(path, wrong, f"mend its affine, or {_MEND}")
        return volume

    def _on_reference(self, volume: Volume, data: Float32Array, *, mask: bool) -> Float32Array:
        assert self.reference is not None  # the first file that could be read
        grid = self.reference.grid
        if same_place(volume.grid, grid):
            return data
        return regrid(data, volume.grid, grid, mask=mask)


def _overlap(one: Grid, other: Grid) -> bool:
    """Whether some voxel of `one` may lie within `other`: their boxes along its axes meet."""
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in one.shape])).reshape(3, -1)
    back = np.linalg.solve(other.affine, one.affine)
    there = back[:3, :3] @ corners + back[:3, 3:]
    last = np.array(other.shape) - 0.5
    return bool(((there.max(axis=1) > -0.5) & (there.min(axis=1) < last)).all())


def values_in(paths: Iterable[Path]) -> str:
    """The values that files hold together, as `told` shows them. Raises FileError for a bad one."""
    return told({float(value) for path in paths for value in np.unique(read_volume(path).data)})


def told(values: Iterable[float], limit: int = 10) -> str:
    """`0, 1, 2`: distinct values, rising, at most `limit` of them, and how many more."""
    rising = sorted(set(values))
    more = f" and {len(rising) - limit} more" if len(rising) > limit else ""
    return ", ".join(f"{value:g}" for value in rising[:limit]) + more


TOLERANCE = 1e-3
"""How far a stored value may lie from what it means: scaled integers and resampled ones."""


def soft_mask(
    path: Path, data: Float32Array, name: str, values: Sequence[float] | None
) -> Float32Array:
    """The mask of target `name` in [0, 1], from what the file at `path` holds.

    With label codes `values`: 1 where the voxel is one of them. Without: the voxels themselves,
    clipped to [0, 1]. Raises FileError for voxels outside [0, 1] where no codes were chosen, and
    for fractions where codes were.
    """
    return _as_it_is(path, data, name) if values is None else _coded(path, data, name, values)


def _as_it_is(path: Path, data: Float32Array, name: str) -> Float32Array:
    if data.min() < -TOLERANCE or data.max() > 1 + TOLERANCE:
        wrong = f"holds {_values_in(data)}, so it is no soft mask between 0 and 1"
        raise FileError(path, wrong, f"choose the codes with dataset.targets.{name}.values")
    return np.clip(data, 0, 1)


def _coded(path: Path, data: Float32Array, name: str, values: Sequence[float]) -> Float32Array:
    mask = np.zeros(data.shape, dtype=bool)
    for code in values:
        mask |= np.abs(data - np.float32(code)) <= TOLERANCE
    if (~mask & (np.abs(data - np.rint(data)) > TOLERANCE)).any():
        wrong = f"holds {_values_in(data)}, fractions, but codes were chosen"
        raise FileError(path, wrong, f"remove dataset.targets.{name}.values to keep it soft")
    return mask.astype(np.float32)


def _values_in(data: Float32Array, limit: int = 10) -> str:
    found = np.unique(data)
    shown = ", ".join(f"{value:g}" for value in found[:limit])
    more = f" .. {found[-1]:g} ({len(found)} values)" if len(found) > limit else ""
    return f"the values {shown}{more}"
