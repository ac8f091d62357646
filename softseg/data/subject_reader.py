"""Read a subject's files one after the other, noting every problem instead of stopping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from softseg.core.types import Float32Array
from softseg.data.nifti.grid import corner_distance, may_overlap, regrid, same_place
from softseg.data.nifti.io import FileError, Volume, read_volume
from softseg.data.targets import Target

TOLERANCE = 1e-3
"""Largest difference between a stored value and the value it means, as files hold scaled integers
and resampled values."""
_RESAMPLE = "resample it onto that image's grid, or let dataset.on_grid_mismatch: resample do so"


@dataclass
class SubjectReader:
    """Reads each file once and compares its grid with that of the first image read.

    With `regrid`, volumes on another grid are resampled onto that of the first image.
    """

    regrid: bool = False
    frame: int | None = None  # index of the frame, for 4D files
    problems: list[str] = field(default_factory=list)
    reference: Volume | None = None
    _reference_path: Path = Path()
    _volumes: dict[Path, Volume | None] = field(default_factory=dict)

    def image(self, path: Path, *, mask: bool = False) -> Float32Array | None:
        """Return an image, or the ROI's mask, on the reference grid; None after a problem."""
        try:
            volume = self.read(path)
        except FileError as error:
            self.problems.append(str(error))
            return None
        return None if volume is None else self._on_reference(volume, volume.data, mask=mask)

    def masks(
        self, files: Mapping[str, Path], name: str, target: Target
    ) -> dict[str, Float32Array]:
        """Return rater -> mask of one target in [0, 1]; masks with a problem are left out."""
        masks = {}
        for rater, path in files.items():
            try:
                volume = self.read(path)
                if volume is not None:
                    # codes are chosen before resampling: values between two codes mean nothing
                    mask = soft_mask(path, volume.data, name, target.values)
                    masks[rater] = self._on_reference(volume, mask, mask=True)
            except FileError as error:
                self.problems.append(str(error))
        return masks

    def read(self, path: Path) -> Volume | None:
        """Return a volume on its own grid; None if the file was rejected before.

        Raises FileError, the first time, for a bad file and for a grid that does not fit.
        """
        if path not in self._volumes:
            self._volumes[path] = None
            volume = read_volume(path, self.frame)
            self._check_grid(path, volume)
            self._volumes[path] = volume
        return self._volumes[path]

    def _check_grid(self, path: Path, volume: Volume) -> None:
        """Raise FileError for a grid that does not fit that of the first image."""
        if self.reference is None:
            self.reference, self._reference_path = volume, path
        grid, reference = volume.grid, self.reference.grid
        if self.regrid:
            if not may_overlap(grid, reference):
                wrong = f"does not overlap {self._reference_path}"
                fix = "fix its affine, or check that it is the right file"
                raise FileError(path, wrong, fix)
            return
        if grid.shape != reference.shape:
            wrong = f"has the shape {grid.shape}, but {self._reference_path} has {reference.shape}"
            raise FileError(path, wrong, _RESAMPLE)
        if not same_place(grid, reference):
            distance = corner_distance(grid, reference)
            wrong = f"is up to {distance:.3g} mm away from {self._reference_path}"
            raise FileError(path, wrong, f"fix its affine, or {_RESAMPLE}")

    def _on_reference(self, volume: Volume, data: Float32Array, *, mask: bool) -> Float32Array:
        """Return `data` on the reference grid, resampled if the volume is on another grid."""
        assert self.reference is not None  # the first file that could be read
        grid = self.reference.grid
        if same_place(volume.grid, grid):
            return data
        return regrid(data, volume.grid, grid, mask=mask)


def soft_mask(
    path: Path, data: Float32Array, name: str, values: Sequence[float] | None
) -> Float32Array:
    """Return the mask of target `name` in [0, 1], from the voxels of the file at `path`.

    With label codes `values`: 1 where the voxel is one of them. Without: the voxels themselves,
    clipped to [0, 1]. Raises FileError for voxels outside [0, 1] if no codes were chosen, and for
    fractions if codes were.
    """
    if values is None:
        if data.min() < -TOLERANCE or data.max() > 1 + TOLERANCE:
            wrong = f"holds {_examples(data)}, so it is not a soft mask between 0 and 1"
            raise FileError(path, wrong, f"choose the codes with dataset.targets.{name}.values")
        return np.clip(data, 0, 1)
    mask = np.zeros(data.shape, dtype=bool)
    for code in values:
        mask |= np.abs(data - np.float32(code)) <= TOLERANCE
    if (~mask & (np.abs(data - np.rint(data)) > TOLERANCE)).any():
        wrong = f"holds {_examples(data)}, fractions, but codes were chosen"
        raise FileError(path, wrong, f"remove dataset.targets.{name}.values to keep it soft")
    return mask.astype(np.float32)


def _examples(data: Float32Array, limit: int = 10) -> str:
    """Return the smallest values of a volume, and the largest one if there are more."""
    values = np.unique(data)
    text = ", ".join(f"{value:g}" for value in values[:limit])
    more = f" .. {values[-1]:g} ({len(values)} values)" if len(values) > limit else ""
    return f"the values {text}{more}"


def format_values(values: Iterable[float], limit: int = 10) -> str:
    """Return `0, 1, 2`: distinct values, rising, at most `limit` of them, and how many more."""
    rising = sorted(set(values))
    more = f" and {len(rising) - limit} more" if len(rising) > limit else ""
    return ", ".join(f"{value:g}" for value in rising[:limit]) + more


def format_values_in(paths: Iterable[Path]) -> str:
    """Return the distinct values of files as text. Raises FileError for a bad file."""
    return format_values(float(v) for path in paths for v in np.unique(read_volume(path).data))
