"""What is odd about a file on its own, and about the codes that masks hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from pathlib import Path

from softseg.data.check.facts import FileFacts, by_text
from softseg.data.check.findings import Finding
from softseg.data.dataset import DatasetFields
from softseg.data.masks import TOLERANCE
from softseg.data.reading import told
from softseg.data.targets import Target

ALIGNED_MM = 1e-3
"""What lies nearer than this to its place on the first contrast lies on it."""


def oddities(files: Sequence[FileFacts], dataset: DatasetFields) -> Iterator[Finding]:
    """Constant images, empty masks, files a little beside each other, codes of no target."""
    for one in files:
        yield from _constant(one)
        yield from _empty(one)
    for path, one in {one.path: one for one in files}.items():
        yield from _beside(path, one, dataset.other_grids == "resample")
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
        others = f", but the values {told(held)}" if held else ""
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
