"""Where a model that was trained around an ROI is to look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from softseg.apply.inputs import Scan, stem_of
from softseg.apply.model import Model
from softseg.apply.view import wants_roi
from softseg.data.names import listed
from softseg.errors import UserError, several

Centre = tuple[float, float, float]


@dataclass(frozen=True)
class Placed:
    """Where to look: the scans with their ROI masks, or the middle of the one box."""

    scans: list[Scan]
    centre: Centre | None = None
    problems: tuple[str, ...] = ()  # scans left out, since it is not known where to look in them


def place(model: Model, scans: Sequence[Scan], roi: Path | None, centre: str | None) -> Placed:
    """Find out where to look in each scan.

    Raises UserError for a model that needs an ROI and is given none, or the other way round.
    """
    wanted = wants_roi(model.experiment)
    if wanted and roi is None and centre is None:
        raise UserError(
            f"{model.source} was trained around an ROI: give its mask with --roi, or the middle of "
            "the box, a voxel of the scan, with --centre I,J,K"
        )
    if not wanted and (roi is not None or centre is not None):
        raise UserError(
            f"{model.source} was not trained around an ROI: leave out --roi and --centre"
        )
    if roi is not None:
        return with_roi(scans, roi, _suffix(model))
    return Placed(list(scans), None if centre is None else _voxel(centre, len(scans)))


def _suffix(model: Model) -> str | None:
    dataset = model.experiment.dataset
    return dataset.roi if dataset.loader == "bids" else None


def _voxel(text: str, scans: int) -> Centre:
    try:
        i, j, k = (float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--centre {text}: write three numbers, such as 64,70,10") from None
    if scans > 1:
        raise UserError(f"--centre is for one scan, and {scans} are given")
    return i, j, k


def with_roi(scans: Sequence[Scan], roi: Path, suffix: str | None) -> Placed:
    """The scans with their ROI masks: one file for one scan, or those in a folder.

    In a folder a scan's mask is the file whose name is that of the scan's first image and more;
    `suffix`, where the model's data set had one, tells which of several.

    Raises UserError for one file and several scans, or where no scan has a mask.
    """
    if roi.is_file() and len(scans) == 1:
        return Placed([replace(scans[0], roi=roi)])
    if roi.is_file():
        raise UserError(f"--roi {roi}: one mask is given, but {len(scans)} scans; give a folder")
    masks = [path for path in sorted(roi.rglob("*.nii*")) if path.is_file()]
    found = [(scan, _masks_of(scan, masks, suffix)) for scan in scans]
    problems = tuple(_wrong(scan, fitting, roi) for scan, fitting in found if len(fitting) != 1)
    if len(problems) == len(scans):
        raise several(f"--roi {roi}: no scan has one mask there:", problems)
    whole = [replace(scan, roi=fitting[0]) for scan, fitting in found if len(fitting) == 1]
    return Placed(whole, problems=problems)


def _masks_of(scan: Scan, masks: Sequence[Path], suffix: str | None) -> list[Path]:
    image = stem_of(_first(scan))
    fitting = [path for path in masks if stem_of(path).startswith(f"{image}_")]
    return [path for path in fitting if stem_of(path) == f"{image}_{suffix}"] or fitting


def _wrong(scan: Scan, fitting: Sequence[Path], roi: Path) -> str:
    first = _first(scan)
    if fitting:
        return f"{first}: {len(fitting)} ROI masks fit, {listed(path.name for path in fitting)}"
    return f"{first}: has no ROI mask, {stem_of(first)}_*.nii.gz in {roi}"


def _first(scan: Scan) -> Path:
    return next(iter(scan.images.values()))
