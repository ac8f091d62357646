"""What is odd about a file on its own, and about the codes that masks hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isnan
from pathlib import Path

import numpy as np

from softseg.check.findings import Finding
from softseg.check.volume_statistics import Content, FileFacts, Kind, by_text, in_mm
from softseg.core.types import BoolArray, Float64Array
from softseg.data.loaders.base import DatasetFields
from softseg.data.subject_reader import TOLERANCE, format_values
from softseg.data.targets import Target

ALIGNED_MM = 1e-3
"""What lies nearer than this to its place on the first contrast lies on it."""


def oddities(files: Sequence[FileFacts], dataset: DatasetFields) -> Iterator[Finding]:
    """Constant images, empty masks, files a little beside each other, codes of no target."""
    for one in files:
        yield from _constant(one)
        yield from _empty(one)
    for path, one in {one.path: one for one in files}.items():
        yield from _beside(path, one, dataset.on_grid_mismatch == "resample")
    yield from _unused_codes(files, dataset.targets)


def _constant(one: FileFacts) -> Iterator[Finding]:
    if one.kind == "image" and one.content.is_constant:
        what = f"every voxel is {one.content.minimum:g}"
        do = "convert it again from its source, or leave the subject out with dataset.exclude"
        yield Finding("warning", "constant image", what, do, one.subject, one.path)


def _empty(one: FileFacts) -> Iterator[Finding]:
    if one.mask is not None and one.mask.is_empty:
        structure = one.name or "the region of interest"
        do = "check that there is none in this scan"
        if one.kind == "roi":
            do = "draw it, or leave the subject out with dataset.exclude"
        held = [value for value in one.mask.values if value]
        others = f", but the values {format_values(held)}" if held else ""
        what = f"holds no voxel of {structure}{others}"
        yield Finding("warning", "empty mask", what, do, one.subject, one.path)


def _beside(path: Path, one: FileFacts, is_resampled: bool) -> Iterator[Finding]:
    """Contrasts and masks that do not quite lie on the first contrast."""
    away = one.content.away_mm
    if isnan(away):
        what = f"has the shape {by_text(one.content.shape)}, unlike the first contrast"
    elif away > ALIGNED_MM:
        what = f"lies up to {away:.2g} mm from its place on the first contrast"
    else:
        return
    do = "nothing, if both show the same place: training takes their voxels as the same"
    if is_resampled:
        do = "nothing, if both show the same place: training resamples it where that matters"
    yield Finding("warning", "another grid", what, do, one.subject, path)


def _unused_codes(files: Sequence[FileFacts], targets: Mapping[str, Target]) -> Iterator[Finding]:
    """A note for each code that masks hold and no target of theirs uses."""
    held: dict[Path, set[float]] = {}
    for one in files:
        values = targets[one.name].values if one.kind == "mask" else None
        if values is not None and one.mask is not None:
            rest = {v for v in one.mask.values if v and not _is_one_of(v, values)}
            held[one.path] = held.get(one.path, rest) & rest
    for code in sorted(set().union(*held.values())):
        count = sum(code in codes for codes in held.values())
        what = f"the value {code:g} is in {count} of {len(held)} masks and in no target"
        do = "nothing, if it is meant to be background; else add it to a target's values"
        yield Finding("note", "unused value", what, do)


def _is_one_of(value: float, codes: Sequence[float]) -> bool:
    return any(abs(value - code) <= TOLERANCE for code in codes)


FEWEST = 8
"""Subjects: of fewer, none is called an outlier."""
FARTHEST = 6.0
"""Robust standard deviations from the median."""
_LOOK = "look at it, and leave the subject out with dataset.exclude if it is wrong"
_LEAST = 0.01
Property = Callable[[FileFacts], float]
Judge = Callable[[Float64Array], BoolArray]
_INTENSITIES: Mapping[str, Property] = {
    "median intensity": lambda one: one.content.median,
    "standard deviation": lambda one: one.content.std,
}
_VOLUME: Mapping[str, Property] = {
    "volume [ml]": lambda one: one.mask.volume_ml if one.mask else 0.0
}


def outliers(files: Sequence[FileFacts]) -> Iterator[Finding]:
    """Grids, intensities and volumes far from those of the other subjects."""
    yield from _unlike_most(files, "zooms", lambda one: in_mm(one.zooms))
    yield from _unlike_most(files, "orientation", lambda one: one.orientation)
    for images in _by_name(files, "image").values():
        filled = [one for one in images if not isnan(one.content.median)]
        yield from _far(filled, "unusual intensity", _INTENSITIES, far_out)
    for masks in _by_name(files, "mask").values():
        drawn = [one for one in masks if one.mask and not one.mask.is_empty]
        yield from _far(drawn, "unusual volume", _VOLUME, far_out_of_scale)


def far_out(values: Float64Array, least: float | None = None) -> BoolArray:
    """Which of the values (N,) lie more than 6 robust standard deviations from their median.

    A robust standard deviation is 1.4826 times the median distance from the median (MAD), which
    is that of a normal distribution; it is taken to be at least `least` (default: 1 % of the
    median), so that a cohort of nearly equal values is not judged by its rounding.
    """
    center = float(np.median(values))
    away = np.abs(values - center)
    least = _LEAST * abs(center) if least is None else least
    scale = max(1.4826 * float(np.median(away)), least)
    return np.asarray((away > FARTHEST * scale) & (scale > 0))


def far_out_of_scale(values: Float64Array) -> BoolArray:
    """The same for the logarithms of values (N,) above 0: those of volumes are less skewed."""
    return far_out(np.log(values), _LEAST)


def _far(
    files: Sequence[FileFacts], kind: str, properties: Mapping[str, Property], judge: Judge
) -> Iterator[Finding]:
    """A finding for each file of a cohort of which a property, or several, is far out."""
    if len({one.subject for one in files}) < FEWEST:
        return
    told: list[list[str]] = [[] for _ in files]
    for said, value_of in properties.items():
        for place, text in _outside([value_of(one) for one in files], judge).items():
            told[place].append(f"{said} {text}")
    for one, texts in zip(files, told, strict=True):
        if texts:
            what = f"{one.name}: {', '.join(texts)}"
            yield Finding("warning", kind, what, _LOOK, one.subject, one.path)


def _outside(values: Sequence[float], judge: Judge) -> dict[int, str]:
    """Place -> the value that is far out, and the range of those that are not."""
    numbers = np.array(values)
    far = judge(numbers)
    low, high = numbers[~far].min(), numbers[~far].max()  # half of them at least is not far out
    return {
        int(place): f"{numbers[place]:.4g} (others: {low:.4g} to {high:.4g})"
        for place in np.flatnonzero(far)
    }


def _unlike_most(
    files: Iterable[FileFacts], kind: str, value_of: Callable[[Content], str]
) -> Iterator[Finding]:
    """Subjects whose first image differs from what more than half of the subjects have."""
    firsts: dict[str, FileFacts] = {}
    for one in files:
        if one.kind == "image":
            firsts.setdefault(one.subject, one)
    values = [(one, value_of(one.content)) for one in firsts.values()]
    for usual, count in Counter(value for _, value in values).most_common(1):
        for one, value in values:
            if value != usual and 2 * count > len(values):
                what = f"has the {kind} {value}, but {count} of {len(values)} subjects have {usual}"
                yield Finding("warning", f"unusual {kind}", what, _LOOK, one.subject, one.path)


def _by_name(files: Iterable[FileFacts], kind: Kind) -> dict[str, list[FileFacts]]:
    groups: dict[str, list[FileFacts]] = {}
    for one in files:
        if one.kind == kind:
            groups.setdefault(one.name, []).append(one)
    return groups
