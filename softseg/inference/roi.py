"""The ROI mask or the voxel around which a model segments each scan."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from softseg.core.errors import UserError, combined_error
from softseg.core.names import listing
from softseg.data.nifti.io import file_stem, nifti_files, nifti_stem
from softseg.inference.model import Model
from softseg.inference.scans import Scan
from softseg.inference.segment import requires_roi


@dataclass(frozen=True)
class RoiAssignment:
    """The scans with their ROI masks, or the middle of the one scan's box."""

    scans: list[Scan]
    center: tuple[float, float, float] | None = None
    problems: tuple[str, ...] = ()  # scans left out, because their ROI mask is missing or ambiguous


def assign_rois(
    model: Model, scans: Sequence[Scan], roi: Path | None, center: str | None
) -> RoiAssignment:
    """Assign --roi or --center to the scans.

    Raises UserError if the model needs neither but gets one, if it needs one but gets neither, and
    if both are given.
    """
    required = requires_roi(model.experiment)
    if required and roi is None and center is None:
        raise UserError(
            f"{model.source} was trained around an ROI: give its mask with --roi, or the middle of "
            "the box, a voxel of the scan, with --center I,J,K"
        )
    if not required and (roi is not None or center is not None):
        raise UserError(
            f"{model.source} was not trained around an ROI: leave out --roi and --center"
        )
    if roi is not None and center is not None:
        raise UserError("--roi and --center cannot be combined: give one of them")
    if roi is not None:
        dataset = model.experiment.dataset
        suffix = dataset.roi if dataset.loader == "bids" else None
        return _with_masks(scans, roi, suffix, model.targets)
    if center is None:
        return RoiAssignment(list(scans))
    try:
        i, j, k = (float(part) for part in center.split(","))
    except ValueError:
        raise UserError(f"--center {center}: write three numbers, such as 64,70,10") from None
    if not all(map(math.isfinite, (i, j, k))):
        raise UserError(f"--center {center}: write three finite numbers, such as 64,70,10")
    if len(scans) > 1:
        raise UserError(
            f"--center is for one scan, but there are {len(scans)}; give masks with --roi"
        )
    return RoiAssignment(list(scans), (i, j, k))


def _with_masks(
    scans: Sequence[Scan], roi: Path, suffix: str | None, targets: Sequence[str]
) -> RoiAssignment:
    """Give each scan its ROI mask: one file for one scan, or files in a folder.

    In a folder, the name of a mask begins with the name of the scan's first image and `_`. If it
    begins with the names of two images, the longer one counts (`p1_repeat_roi.nii.gz` belongs to
    `p1_repeat`, not to `p1`). If several scans have images of the same name, the mask of each is in
    a subfolder, as its predictions are. Predictions of `targets` are not ROI masks. Of several
    masks, the one with `suffix` is taken, which is the suffix of ROI masks in the model's dataset.

    Raises UserError if there is no such path, for one file and several scans, or if no scan has a
    mask.
    """
    if not roi.exists():
        raise UserError(f"--roi {roi}: there is no such file or folder")
    if roi.is_file() and len(scans) == 1:
        return RoiAssignment([replace(scans[0], roi=roi)])
    if roi.is_file():
        raise UserError(f"--roi {roi}: one mask is given, but {len(scans)} scans; give a folder")
    counts = Counter(file_stem(scan.first_image) for scan in scans)
    files = _files_by_image(roi, counts)
    complete, problems = [], []
    for scan in scans:
        image = file_stem(scan.first_image)
        candidates = files.get(image, [])
        if counts[image] > 1:
            candidates = [path for path in candidates if path.parent == roi / scan.subfolder]
        predictions = tuple(f"{image}_label-{target}_" for target in targets)
        masks = [path for path in candidates if not nifti_stem(path).startswith(predictions)]
        masks = [path for path in candidates if nifti_stem(path) == f"{image}_{suffix}"] or masks
        if len(masks) == 1:
            complete.append(replace(scan, roi=masks[0]))
        else:
            problems.append(_problem(scan, masks, roi))
    if not complete:
        raise combined_error(f"--roi {roi}: no scan has one mask there:", problems)
    return RoiAssignment(complete, problems=tuple(problems))


def _files_by_image(folder: Path, images: Counter[str]) -> dict[str, list[Path]]:
    """Image name -> files whose names are this name, `_` and more; the longest image name wins.

    An image (`p1_repeat` next to `p1`) is not a mask.
    """
    files: dict[str, list[Path]] = {}
    paths = nifti_files(folder)
    for path in (path for path in paths if nifti_stem(path) not in images):
        parts = nifti_stem(path).split("_")
        starts = ("_".join(parts[:n]) for n in range(len(parts) - 1, 0, -1))
        if image := next((start for start in starts if start in images), None):
            files.setdefault(image, []).append(path)
    return files


def _problem(scan: Scan, masks: Sequence[Path], roi: Path) -> str:
    """Why a scan does not have exactly one ROI mask."""
    first = scan.first_image
    if scan.missing is not None:
        return f"{first}: {scan.missing}"
    if masks:
        names = listing(path.name for path in masks)
        return f"{first}: {len(masks)} ROI masks fit, {names}; give a folder with one per scan"
    return f"{first}: has no ROI mask, {file_stem(first)}_*.nii.gz in {roi}"
