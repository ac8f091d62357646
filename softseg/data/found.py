"""What a loader found for one subject, and whether that makes a whole subject."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from softseg.data.names import is_utf8, listed
from softseg.data.subjects import Subject

if TYPE_CHECKING:
    from softseg.data.dataset import DatasetFields
    from softseg.data.raters import Raters


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
    """What was looked for, as a path with `*`: `image <contrast>`, `roi`, `mask <target>` (where
    {rater} stands for a rater), and of tables `mask <target> by rater <rater>`."""
    lost: dict[str, list[str]] = field(default_factory=dict)
    """Target -> raters whose mask a table names, although there is no such file."""
    is_named: bool = False
    """Whether a table names files of this subject, which is then never just left out."""

    def add_label(self, target: str, mask: Mask) -> None:
        """Note a mask of one target."""
        self.labels.setdefault(target, []).append(mask)

    @property
    def raters(self) -> set[str]:
        """Everybody who drew, or is said to have drawn, any target."""
        drawn = {mask.rater for masks in self.labels.values() for mask in masks}
        return drawn.union(*self.lost.values())


def judge(found: Found, dataset: DatasetFields) -> tuple[Subject, list[str]]:
    """The subject, and everything that is missing or ambiguous about it."""
    problems: list[str] = []
    images = _images(found, dataset.contrasts, problems)
    labels = {target: _labels(found, target, dataset, problems) for target in dataset.targets}
    roi = _roi(found, dataset, problems) if dataset.roi is not None else None
    problems += _unreadable((found.name, *found.raters))
    subject = Subject(found.name, images, labels, roi, found.columns)
    return subject, [f"{found.name}: {problem}" for problem in problems]


def _unreadable(names: Iterable[str]) -> Iterator[str]:
    """Names that no table could hold, as the system allows any bytes."""
    for name in names:
        if not is_utf8(name):
            yield f"the name {name!a} is not UTF-8 text; rename the files"


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
        problems.append(f"no mask of {target} (looked for {_sought(found, target)})")
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
        place = _sought(found, target, dataset.raters.chosen)
        problems.append(f"dataset.raters.fuse: {wrong} (looked for the mask of {target}: {place})")
    problems += _lacking(found, target, raters, dataset.raters)
    return raters


def _lacking(found: Found, target: str, raters: Collection[str], rule: Raters) -> Iterator[str]:
    """What is wrong where somebody who is named by a table, or expected, has no mask."""
    there = f"there are {listed(raters)}"
    if set(raters) == {""}:
        there = "its masks are not told apart by {rater}"
    lost = found.lost.get(target, [])
    for name in lost:
        place = _sought(found, target, name)
        yield f"no mask of {target}{_by(name)} (looked for {place}; {there})"
    for name in rule.lacking([*raters, *lost]):
        place = _sought(found, target, name)
        told = f"looked for {place}; {there}; see dataset.raters.expected"
        yield f"no mask of {target}{_by(name)} ({told})"
    if rule.too_few(raters):
        told = f"looked for {_sought(found, target)}; {there}"
        few = f"{len(raters)} mask(s) of {target}"
        yield f"{few}, but dataset.raters.expected is {rule.expected} ({told})"


def _sought(found: Found, target: str, rater: str | None = None) -> str:
    """Where the mask of a target was looked for, that of one rater or any."""
    own = found.sought.get(f"mask {target} by rater {rater}")
    return own or found.sought[f"mask {target}"].replace("{rater}", rater or "*")


def _raters(masks: Sequence[Mask], target: str, problems: list[str]) -> dict[str, Path]:
    files: dict[str, list[Path]] = {}
    for mask in masks:
        files.setdefault(mask.rater, []).append(mask.path)
    for rater, paths in files.items():
        if len(paths) > 1:
            what = f"the mask of {target}{_by(rater)}"
            problems.append(f"{len(paths)} files match {what}: {_joined(paths)}")
    return {rater: paths[0] for rater, paths in files.items()}


def _by(rater: str) -> str:
    return f" by rater {rater}" if rater else ""


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
