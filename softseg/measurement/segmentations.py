"""The segmentations in a folder: a soft map and a mask per scan and target, found and read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softseg.core.errors import UserError
from softseg.core.files import read_json
from softseg.core.names import natural_key
from softseg.core.types import BoolArray, Float32Array
from softseg.data.masks import TOLERANCE
from softseg.data.nifti.grid import Grid, same_place
from softseg.data.nifti.io import Volume, file_stem, nifti_files, nifti_stem, read_volume

_NAME = re.compile(r"(?P<scan>.+)_label-(?P<target>[A-Za-z0-9_-]+)_(?P<kind>probseg|mask)")
_DERIVED = "_desc-"  # in the names of maps of an uncertainty method


@dataclass(frozen=True)
class Segmentation:
    """The files of one target of one scan, not yet opened."""

    scan: str
    """Path of the scan's segmentations in the folder, without `_label-...`."""
    target: str
    soft: Path
    mask: Path


@dataclass(frozen=True, eq=False)
class SegmentedScan:
    """One target of one scan; arrays (X, Y, Z) on one grid."""

    soft: Float32Array  # in [0, 1]
    mask: BoolArray
    grid: Grid


def find_segmentations(folder: Path, problems: list[str]) -> list[Segmentation]:
    """Find what `softseg predict` or `eval` wrote in a folder and its subfolders.

    Appends a message to `problems` for each soft map without a mask, and the reverse. Raises
    UserError if there is no such folder, or if it has neither soft maps nor masks.
    """
    if not folder.is_dir():
        wrong = "is a file" if folder.exists() else "there is no such folder"
        raise UserError(f"{folder}: {wrong}; name the folder of the segmentations")
    matches = {path: _NAME.fullmatch(nifti_stem(path)) for path in nifti_files(folder)}
    parts = {
        path: match for path, match in matches.items() if match and _DERIVED not in match["target"]
    }
    if not parts:
        raise UserError(
            f"{folder}: has no soft segmentations (*_label-<target>_probseg.nii.gz, next to "
            f"*_mask.nii.gz); write them with softseg predict MODEL SCANS -o {folder}"
        )
    segmentations = []
    for path, match in parts.items():
        is_soft = match["kind"] == "probseg"
        other = _with_kind(path, match, "mask" if is_soft else "probseg")
        if other not in parts:
            missing = "mask" if is_soft else "soft map"
            problems.append(
                f"{path}: has no {missing} ({other.name}) next to it; segment the scan again"
            )
        elif is_soft:
            scan = (path.parent / match["scan"]).relative_to(folder).as_posix()
            segmentations.append(Segmentation(scan, match["target"], path, other))
    counts = Counter((found.scan, found.target) for found in segmentations)
    problems += [
        f"{folder / scan}_label-{target}_*: there are .nii and .nii.gz files; delete one pair"
        for (scan, target), count in counts.items()
        if count > 1
    ]
    return sorted(segmentations, key=lambda s: (natural_key(s.scan), natural_key(s.target)))


def _with_kind(path: Path, match: re.Match[str], kind: str) -> Path:
    """Return the file of the other kind of the same segmentation."""
    ending = path.name.removeprefix(file_stem(path))
    return path.with_name(f"{match['scan']}_label-{match['target']}_{kind}{ending}")


def read_segmentation(found: Segmentation) -> SegmentedScan:
    """Read and check a soft map and its mask.

    Raises UserError with every problem, a line each: a file that cannot be read, soft values
    outside of [0, 1], a mask with other values than 0 and 1, different grids.
    """
    problems: list[str] = []
    soft, mask = (_read(path, problems) for path in (found.soft, found.mask))
    if soft is not None and (soft.data.min() < -TOLERANCE or soft.data.max() > 1 + TOLERANCE):
        low, high = float(soft.data.min()), float(soft.data.max())
        problems.append(
            f"{found.soft}: has values from {low:.4g} to {high:.4g}, so it is not a soft map in "
            "[0, 1]; segment the scan again, or divide the map by its value for 1"
        )
    if mask is not None and not np.isin(mask.data, (0, 1)).all():
        problems.append(f"{found.mask}: has other values than 0 and 1; segment the scan again")
    if soft is not None and mask is not None and not same_place(soft.grid, mask.grid):
        problems.append(
            f"{found.mask}: is not on the grid of {found.soft.name} ({mask.grid}, not {soft.grid}, "
            "or shifted); segment the scan again"
        )
    if problems or soft is None or mask is None:
        raise UserError("\n".join(problems))
    return SegmentedScan(np.clip(soft.data, 0, 1), mask.data > 0, soft.grid)


def _read(path: Path, problems: list[str]) -> Volume | None:
    """Return the volume of a file; None, after appending the reason, if it cannot be read."""
    try:
        return read_volume(path)
    except UserError as error:
        problems.append(str(error))
        return None


def read_sidecar(path: Path) -> Mapping[str, Any]:
    """Return the JSON file next to a segmentation; empty if there is none.

    Raises UserError if it is damaged.
    """
    sidecar = path.with_name(f"{file_stem(path)}.json")
    try:
        content = read_json(sidecar)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{sidecar}: is not JSON ({error}); segment the scan again") from error
    if not isinstance(content, dict):
        raise UserError(f"{sidecar}: is not a JSON object; segment the scan again")
    return content
