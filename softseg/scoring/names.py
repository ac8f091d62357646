"""What the name of a segmentation says: its case, target, rater and kind; which case it matches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

SOFT, MASK, LABELS = "probseg", "mask", "dseg"
"""Kinds that a name may state: a soft map, a mask, a label map (suffixes of BIDS derivatives)."""
_TARGET = re.compile(
    r"(.+)_label-([A-Za-z0-9_-]+?)(?:_(probseg|mask|dseg|seg|softseg)(?:-manual)?)?"
)
_SUFFIX = re.compile(
    r"(.+)[_-](probseg|mask|dseg|softseg|seg|pred|prediction|prob|gt|label|labels)(-manual)?"
)
_STRUCTURE = re.compile(r"(.+)_(?:([A-Za-z0-9]+?)(?:seg)?-manual|(gm|wm|csf|lesion)seg)")
_RATER = re.compile(r"(.*?)[_-]?(?:rater|annotation|annotator|reader|seg)[_-]?(\d+)")
_CHANNEL = re.compile(r"(.+)_0\d{3}")
_ENTITY = re.compile(r"([a-z]+)-([A-Za-z0-9]+)")


@dataclass(frozen=True)
class SegmentationName:
    """What the name of a file says about a segmentation."""

    case: str
    """Its folder and what is left of the name: `site1/sub-01_T1w`."""
    target: str = ""
    """Of `_label-<target>`, `_<target>-manual`, `_<target>seg-manual`, or `_gmseg` as of the Spinal
    Cord Toolbox; empty: the name does not say it."""
    rater: str = ""
    """The number in `rater1`, `annotation_1`, `seg01` at the end; empty: there is none."""
    kind: str = ""
    """`SOFT`, `MASK` or `LABELS`; empty: the name does not say it."""


def parse_name(path: str) -> SegmentationName:
    """Return what the path of a segmentation in its folder says; the path is without its ending."""
    folder, _, stem = path.rpartition("/")
    target = rater = kind = ""
    if match := _TARGET.fullmatch(stem):
        stem, target, kind = match[1], match[2], match[3] or ""
    if match := _RATER.fullmatch(stem):
        stem, rater = match[1], match[2]
    elif not target and (match := _SUFFIX.fullmatch(stem)):
        stem, kind = match[1], match[2]
    elif not target and (match := _STRUCTURE.fullmatch(stem)):
        stem, target = match[1], match[2] or match[3]
    kind = kind if kind in (SOFT, MASK, LABELS) else ""
    case = "/".join(filter(None, (folder, stem)))
    return SegmentationName(case, target, rater, kind)


def case_names(*paths: str) -> tuple[str, ...]:
    """Return the names by which a case may be called, given its paths: each with and without its
    folders, and without the number of a channel (`_0000` of nnU-Net).
    """
    names: list[str] = []
    for path in paths:
        plain = parse_name(path).case
        for name in (path, plain, *(match[1] for match in [_CHANNEL.fullmatch(path)] if match)):
            names += [name, PurePosixPath(name).name]
    return tuple(dict.fromkeys(names))


def matching_cases(name: str, cases: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the cases that a segmentation of the case `name` may be of: one, none, or several.

    `cases` has the names by which each case may be called (`case_names`). The path counts first,
    then the name without its folders, then the entities of BIDS: those that both names have must
    agree, with `sub` among them.
    """
    for wanted in case_names(name):
        if same := [case for case, names in cases.items() if wanted in names]:
            return same
    own = _entities(name)
    if "sub" not in own:
        return []
    return [
        case
        for case, names in cases.items()
        if any(_agree(own, other) for other in map(_entities, names) if "sub" in other)
    ]


def person_of(case: str) -> str:
    """Return the person of a case without a table of persons: `sub-01`, or the case itself."""
    entities = _entities(case)
    return f"sub-{entities['sub']}" if "sub" in entities else case


def _entities(name: str) -> dict[str, str]:
    """Return the entities of a BIDS name: `{"sub": "01", "run": "2"}`; those of files, not of
    segmentations of them.
    """
    parts = (_ENTITY.fullmatch(part) for part in PurePosixPath(name).name.split("_"))
    found = {match[1]: match[2] for match in parts if match}
    return {key: value for key, value in found.items() if key not in ("desc", "label", "space")}


def _agree(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return all(other.get(key, value) == value for key, value in one.items())
