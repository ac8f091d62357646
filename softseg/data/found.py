"""What a loader found for one subject, and whether that makes a whole subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from softseg.data.names import listed
from softseg.data.subjects import Subject

if TYPE_CHECKING:
    from softseg.data.dataset import DatasetFields


@dataclass(frozen=True)
class Mask:
    """A mask's file, the contrast it is named after and its rater ("" where not told apart)."""

    path: Path
    contrast: str = ""
    rater: str = ""


@dataclass
class Found:
    """Every file that could belong to one subject, before it is judged."""

    name: str
    columns: dict[str, str]
    images: dict[str, list[Path]] = field(default_factory=dict)
    labels: dict[str, list[Mask]] = field(default_factory=dict)
    rois: list[Mask] = field(default_factory=list)
    sought: Mapping[str, str] = field(default_factory=dict)
    """What was looked for, as a path with `*`: `image <contrast>`, `mask <target>` and `roi`."""

    def add_label(self, target: str, mask: Mask) -> None:
        """Note a mask of one target."""
        self.labels.setdefault(target, []).append(mask)


def judge(found: Found, dataset: DatasetFields) -> tuple[Subject, list[str]]:
    """The subject, and everything that is missing or ambiguous about it."""
    problems: list[str] = []
    images = _images(found, dataset.contrasts, problems)
    labels = {target: _labels(found, target, dataset, problems) for target in dataset.targets}
    roi = _roi(found, dataset, problems) if dataset.roi is not None else None
    subject = Subject(found.name, images, labels, roi, found.columns)
    return subject, [f"{found.name}: {problem}" for problem in problems]


def _images(found: Found, contrasts: Sequence[str], problems: list[str]) -> dict[str, Path]:
    images = {}
    for contrast in contrasts:
        files = found.images.get(contrast, [])
        if not files:
            problems.append(f"no {contrast} image (looked for {found.sought[f'image {contrast}']})")
        elif len(files) > 1:
            problems.append(f"{len(files)} files match {contrast}: {_joined(files)}")
        else:
            images[contrast] = files[0]
    return images


def _labels(
    found: Found, target: str, dataset: DatasetFields, problems: list[str]
) -> dict[str, Path]:
    """Rater -> mask of one target."""
    masks = found.labels.get(target, [])
    if not masks:
        problems.append(f"no mask of {target} (looked for {found.sought[f'mask {target}']})")
        return {}
    contrasts = {mask.contrast for mask in masks}
    if len(contrasts) > 1:
        problems.append(
            f"masks of {target} for several contrasts ({listed(contrasts)}): "
            f"choose one with dataset.targets.{target}.contrast"
        )
        return {}
    raters = _raters(masks, target, problems)
    wrong = dataset.raters.missing(raters)
    if wrong:
        problems.append(f"dataset.raters.fuse: {wrong}")
    return raters


def _raters(masks: Sequence[Mask], target: str, problems: list[str]) -> dict[str, Path]:
    files: dict[str, list[Path]] = {}
    for mask in masks:
        files.setdefault(mask.rater, []).append(mask.path)
    for rater, paths in files.items():
        if len(paths) > 1:
            by = f" by rater {rater}" if rater else ""
            problems.append(f"{len(paths)} files match the mask of {target}{by}: {_joined(paths)}")
    return {rater: paths[0] for rater, paths in files.items()}


def _roi(found: Found, dataset: DatasetFields, problems: list[str]) -> Path | None:
    """The ROI mask; of those named after different contrasts, the one of the first contrast."""
    order = ("", *dataset.contrasts)
    first = min((order.index(mask.contrast) for mask in found.rois), default=0)
    files = [mask.path for mask in found.rois if mask.contrast == order[first]]
    if len(files) > 1:
        problems.append(f"{len(files)} files match the ROI mask: {_joined(files)}")
    if files:
        return files[0]
    problems.append(f"no ROI mask (looked for {found.sought['roi']})")
    return None


def _joined(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)
