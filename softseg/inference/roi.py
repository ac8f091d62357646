"""Where a model that was trained around an ROI is to look."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from softseg.core.errors import UserError, combined_error
from softseg.core.names import listing
from softseg.data.nifti.stem import file_stem, nifti_stem
from softseg.inference.model import Model
from softseg.inference.prepared_scan import wants_roi
from softseg.inference.scans import Scan

Center = tuple[float, float, float]


@dataclass(frozen=True)
class Placed:
    """Where to look: the scans with their ROI masks, or the middle of the one box."""

    scans: list[Scan]
    center: Center | None = None
    problems: tuple[str, ...] = ()  # scans left out, since it is not known where to look in them


def place(model: Model, scans: Sequence[Scan], roi: Path | None, center: str | None) -> Placed:
    """Find out where to look in each scan.

    Raises UserError for a model that needs an ROI and is given none, or the other way round, and
    where both a mask and a middle are given.
    """
    wanted = wants_roi(model.experiment)
    if wanted and roi is None and center is None:
        raise UserError(
            f"{model.source} was trained around an ROI: give its mask with --roi, or the middle of "
            "the box, a voxel of the scan, with --center I,J,K"
        )
    if not wanted and (roi is not None or center is not None):
        raise UserError(
            f"{model.source} was not trained around an ROI: leave out --roi and --center"
        )
    if roi is not None and center is not None:
        raise UserError("--roi and --center both say where to look: give one of them")
    if roi is not None:
        return with_roi(scans, roi, _suffix(model), model.targets)
    return Placed(list(scans), None if center is None else _voxel(center, len(scans)))


def _suffix(model: Model) -> str | None:
    dataset = model.experiment.dataset
    return dataset.roi if dataset.loader == "bids" else None


def _voxel(text: str, scans: int) -> Center:
    try:
        i, j, k = (float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--center {text}: write three numbers, such as 64,70,10") from None
    if not all(map(math.isfinite, (i, j, k))):
        raise UserError(f"--center {text}: write three finite numbers, such as 64,70,10")
    if scans > 1:
        raise UserError(f"--center is for one scan, and {scans} are given")
    return i, j, k


def with_roi(
    scans: Sequence[Scan], roi: Path, suffix: str | None, targets: Sequence[str]
) -> Placed:
    """The scans with their ROI masks: one file for one scan, or those in a folder.

    In a folder a scan's mask is the file whose name is that of the scan's first image and more, but
    not that of another scan and more (`p1_repeat_roi.nii.gz` belongs to `p1_repeat`); of scans
    whose images have one name, each has its mask in a folder of its own, that of its predictions.
    Predictions of `targets` are no ROI masks. `suffix`, where the model's data set had one, tells
    which of several.

    Raises UserError where nothing is there, for one file and several scans, or where no scan has a
    mask.
    """
    if not roi.exists():
        raise UserError(f"--roi {roi}: there is no such file or folder")
    if roi.is_file() and len(scans) == 1:
        return Placed([replace(scans[0], roi=roi)])
    if roi.is_file():
        raise UserError(f"--roi {roi}: one mask is given, but {len(scans)} scans; give a folder")
    found = [
        (scan, _fitting(_image(scan), there, suffix, targets))
        for scan, there in _named_after(scans, roi)
    ]
    problems = tuple(_wrong(scan, fitting, roi) for scan, fitting in found if len(fitting) != 1)
    if len(problems) == len(scans):
        raise combined_error(f"--roi {roi}: no scan has one mask there:", problems)
    whole = [replace(scan, roi=fitting[0]) for scan, fitting in found if len(fitting) == 1]
    return Placed(whole, problems=problems)


def _named_after(scans: Sequence[Scan], folder: Path) -> Iterator[tuple[Scan, list[Path]]]:
    """Each scan with the files of a folder that are named after it."""
    images = Counter(map(_image, scans))
    files = [path for path in sorted(folder.rglob("*.nii*")) if path.is_file()]
    by_image = _by_image(files, images)
    for scan in scans:
        there = by_image.get(_image(scan), [])
        if images[_image(scan)] > 1:
            there = [path for path in there if path.parent == folder / scan.place]
        yield scan, there


def _by_image(files: Sequence[Path], images: Container[str]) -> dict[str, list[Path]]:
    """Image -> the files whose names are its name, `_` and more; of several, the longest name's.

    An image (`p1_repeat` beside `p1`) is nobody's mask.
    """
    found: dict[str, list[Path]] = {}
    for path in (path for path in files if nifti_stem(path) not in images):
        parts = nifti_stem(path).split("_")
        starts = ("_".join(parts[:n]) for n in range(len(parts) - 1, 0, -1))
        if image := next((start for start in starts if start in images), None):
            found.setdefault(image, []).append(path)
    return found


def _fitting(
    image: str, files: Sequence[Path], suffix: str | None, targets: Sequence[str]
) -> list[Path]:
    """The ROI masks among what is named after an image."""
    ours = tuple(f"{image}_label-{target}_" for target in targets)
    fitting = [path for path in files if not nifti_stem(path).startswith(ours)]
    return [path for path in files if nifti_stem(path) == f"{image}_{suffix}"] or fitting


def _wrong(scan: Scan, fitting: Sequence[Path], roi: Path) -> str:
    first = _first(scan)
    if scan.missing is not None:
        return f"{first}: {scan.missing}"
    if fitting:
        names = listing(path.name for path in fitting)
        return f"{first}: {len(fitting)} ROI masks fit, {names}; give a folder with one a scan"
    return f"{first}: has no ROI mask, {_image(scan)}_*.nii.gz in {roi}"


def _image(scan: Scan) -> str:
    return file_stem(_first(scan))


def _first(scan: Scan) -> Path:
    return next(iter(scan.images.values()))
