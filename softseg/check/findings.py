"""What a check returns: summaries of all files, findings about them, and the result of both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from nibabel.orientations import aff2axcodes

from softseg.core.names import natural_key
from softseg.core.types import Float32Array
from softseg.data.masks import count_soft
from softseg.data.nifti.grid import Grid, corner_distance
from softseg.data.nifti.io import Volume
from softseg.data.sample import digest_of
from softseg.data.splits import Sets
from softseg.data.subject import Subject
from softseg.metrics.overlap import volume_ml

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
Kind = Literal["image", "mask", "confidence", "roi"]
KINDS: tuple[Kind, ...] = ("image", "mask", "confidence", "roi")
_MAX_VALUES = 256
"""More values than any table of labels has; a soft mask has thousands."""


@dataclass(frozen=True)
class VolumeSummary:
    """One file's header and voxels, in numbers, which stay in memory when the voxels do not."""

    shape: tuple[int, int, int]
    zooms_mm: tuple[float, float, float]
    """Rounded to three decimals; below 0.1 mm to two digits."""
    orientation: str
    """The directions of the voxel axes, e.g. RAS."""
    dtype: str
    """Of the voxels on disk."""
    min: float
    max: float
    mean: float
    """This, `std` and `median` are of the voxels other than 0; NaN if there are none."""
    std: float
    median: float
    away_mm: float
    """Largest distance of a corner from that of the first contrast; NaN for another shape."""
    digest: str
    """Of shape and voxels, independent of the file's name, type and compression."""

    @property
    def is_constant(self) -> bool:
        """Whether all voxels are the same."""
        return self.min == self.max


@dataclass(frozen=True)
class MaskSummary:
    """The mask of one target, or the ROI (all that is above 0), in numbers."""

    values: tuple[float, ...]
    """Distinct voxels of the file, rising; at most 256 of them."""
    distinct: int
    """The number of all distinct voxels."""
    soft_share: float
    """Fraction of soft voxels (below 1) among those above 0, in [0, 1]; 0 for an empty mask."""
    volume_ml: float
    """Sum of the mask, whose values are in [0, 1]."""
    empty: bool
    ignored: int = 0
    """Voxels whose truth is unknown, which count in no loss and no metric."""


@dataclass(frozen=True)
class FileSummary:
    """One file in one role; a file with the codes of several targets has a role for each."""

    subject: str
    path: Path
    kind: Kind
    name: str
    """The contrast of an image, the target of a mask or of a map of confidence; empty for an
    ROI."""
    rater: str
    volume: VolumeSummary
    mask: MaskSummary | None
    """None for images and maps of confidence, and for masks that were rejected."""


def summarize_volume(volume: Volume, reference: Grid, dtype: str) -> VolumeSummary:
    """Return a volume in numbers; `reference` is the grid of its subject's first contrast."""
    data, grid = volume.data, volume.grid
    filled = data[data != 0]
    mean = std = median = np.nan
    if filled.size:
        mean = float(filled.mean(dtype=np.float64))
        std = float(filled.std(dtype=np.float64))
        median = float(np.median(filled))
    # a voxel of a microscope keeps two digits
    x, y, z = (float(f"{zoom:.3f}" if zoom >= 0.1 else f"{zoom:.2g}") for zoom in grid.zooms)
    return VolumeSummary(
        shape=grid.shape,
        zooms_mm=(x, y, z),
        orientation="".join(str(code) for code in aff2axcodes(grid.affine)),
        dtype=dtype,
        min=float(data.min()),
        max=float(data.max()),
        mean=mean,
        std=std,
        median=median,
        away_mm=corner_distance(grid, reference) if grid.shape == reference.shape else np.nan,
        digest=digest_of(data),
    )


def summarize_mask(
    data: Float32Array, mask: Float32Array, voxel_ml: float, ignored: int = 0
) -> MaskSummary:
    """Return a file's voxels (X, Y, Z) and the mask in [0, 1] made of them, in numbers.

    `ignored` is the number of its voxels whose truth is unknown.
    """
    filled = data[data != 0]  # most voxels are 0 and need not be sorted
    values = np.unique(filled)
    if filled.size < data.size:
        values = np.sort(np.append(values, np.float32(0)))
    soft, positive = count_soft([mask])
    return MaskSummary(
        values=tuple(float(value) for value in values[:_MAX_VALUES]),
        distinct=len(values),
        soft_share=soft / positive if positive else 0.0,
        volume_ml=volume_ml(mask, voxel_ml),
        empty=not positive,
        ignored=ignored,
    )


def format_shape(shape: Iterable[int]) -> str:
    """Return a shape as `240 x 240 x 155`."""
    return " x ".join(str(length) for length in shape)


def format_zooms(zooms: Iterable[float]) -> str:
    """Return voxel sizes as `0.5 x 0.5 x 5 mm`."""
    return " x ".join(f"{zoom:.4g}" for zoom in zooms) + " mm"


@dataclass(frozen=True)
class Finding:
    """A message about one file, one subject, or (without either) the dataset."""

    severity: Severity
    kind: str
    """What findings are grouped by, e.g. `empty mask`."""
    what: str
    do: str
    """What the user can do about it."""
    subject: str = ""
    path: Path | None = None

    def __str__(self) -> str:
        """One line: `<path or subject>: <what>; <what to do>`."""
        place = self.subject if self.path is None else str(self.path)
        line = f"{self.what}; {self.do}"
        return f"{place}: {line}" if place else line


@dataclass(frozen=True)
class CheckResult:
    """The files of a dataset and what was found in them."""

    root: Path
    subjects: tuple[Subject, ...]
    sets: Sets | None
    """None if the subjects could not be divided."""
    files: tuple[FileSummary, ...]
    """Of each subject in turn, every file that could be read."""
    findings: tuple[Finding, ...]
    """Errors first, then warnings and notes; each kind in natural order."""

    def of(self, severity: Severity) -> list[Finding]:
        """Return the errors, the warnings or the notes."""
        return [finding for finding in self.findings if finding.severity == severity]


def sort_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return distinct findings: errors first, then by kind, subject and path in natural order."""

    def key(finding: Finding) -> tuple[object, ...]:
        severity = SEVERITIES.index(finding.severity)
        path = "" if finding.path is None else finding.path.as_posix()
        names = natural_key(finding.subject), natural_key(path)
        return (severity, finding.kind, *names, finding.what)

    return tuple(sorted(dict.fromkeys(findings), key=key))
