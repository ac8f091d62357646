"""What the split does with the subjects: who is in which set, and who is in two of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from softseg.check.findings import Finding
from softseg.check.volume_statistics import FileFacts
from softseg.core.names import listing, natural_key
from softseg.data.splits import SETS, Sets, Split
from softseg.data.subject import Subject
from softseg.data.subject_reader import format_values


def set_of(subject: str, sets: Sets | None) -> str:
    """train, validation or test; empty for a subject in none of them."""
    return next((name for name in SETS if sets and subject in getattr(sets, name)), "")


def torn_groups(subjects: Sequence[Subject], split: Split, sets: Sets) -> Iterator[Finding]:
    """Persons, and groups of the split's column, of whom a subject is in two of the sets."""
    for column in dict.fromkeys(("subject", "person", split.within or split.by)):
        groups: dict[str, list[Subject]] = {}
        for subject in subjects:
            value = subject.columns.get(column, "n/a")
            if value != "n/a" and subject.name in sets.members:
                groups.setdefault(value, []).append(subject)
        for value in sorted(groups, key=natural_key):
            yield from _torn(column, value, groups[value], sets)


def _torn(column: str, value: str, group: Sequence[Subject], sets: Sets) -> Iterator[Finding]:
    where = {name: [one.name for one in group if set_of(one.name, sets) == name] for name in SETS}
    there = {name: members for name, members in where.items() if members}
    if len(there) > 1:
        told = ", ".join(f"{name}: {listing(members, 3)}" for name, members in there.items())
        what = f"{column} {value} is in several sets ({told})"
        do = f"split by: {column}, or within: {column}, unless it is meant"
        yield Finding("warning", "person in several sets", what, do)


def untaught_targets(
    targets: Sequence[str], files: Sequence[FileFacts], sets: Sets
) -> Iterator[Finding]:
    """Targets that no training subject has a voxel of, which training refuses."""
    for target in targets:
        masks = [
            one.mask
            for one in files
            if one.kind == "mask" and one.name == target and one.subject in sets.train
        ]
        empty = [mask for mask in masks if mask is not None and mask.is_empty]
        if masks and len(empty) == len(masks):
            held = format_values(value for mask in empty for value in mask.values)
            what = f"no training subject has a voxel of {target}; its masks hold the values {held}"
            do = f"check them and dataset.targets.{target}.values"
            yield Finding("error", "target without foreground", what, do)


_WHICH = "find out which of them is right, and leave the others out with dataset.exclude"
_ONE_SIDE = "keep it on one side of the split: leave the others out with dataset.exclude"
_RATERS = "check that a rater's mask was not saved again under another's name"


def duplicates(files: Sequence[FileFacts], sets: Sets | None) -> Iterator[Finding]:
    """Images, masks of different subjects and masks of different raters with the same voxels.

    The same image in the test set and in another is an error. Constant images and empty masks,
    which are alike without being copies, are left to the findings about them.
    """
    images = [one for one in files if one.kind == "image" and not one.content.is_constant]
    masks = [one for one in files if one.kind == "mask" and one.mask and not one.mask.is_empty]
    for group in _alike(images):
        yield _same_image(group, sets)
    for group in _alike(masks):
        if len({one.subject for one in group}) > 1:
            what = f"is the same mask as {_others(group, sets)}"
            yield _about(group, "same mask for two subjects", what, _WHICH)
    yield from _same_raters(masks)


def _alike(files: Iterable[FileFacts]) -> list[list[FileFacts]]:
    """Groups of several files (or one file of several subjects) with the same voxels."""
    groups: dict[str, dict[tuple[str, Path], FileFacts]] = {}
    for one in sorted(
        files, key=lambda one: (natural_key(one.subject), natural_key(one.path.as_posix()))
    ):
        groups.setdefault(one.content.digest, {}).setdefault((one.subject, one.path), one)
    return [list(group.values()) for group in groups.values() if len(group) > 1]


def _same_image(group: Sequence[FileFacts], sets: Sets | None) -> Finding:
    where = {set_of(one.subject, sets) for one in group}
    learned = {"train": "training", "validation": "validation"}
    own = f" ({set_of(group[0].subject, sets)})" if sets else ""
    what = f"has the same voxels{own} as {_others(group, sets)}"
    if "test" in where and where & learned.keys():
        said = " and ".join(word for name, word in learned.items() if name in where)
        return _about(group, f"same image content in {said} and test", what, _ONE_SIDE, True)
    return _about(group, "same image content", what, _WHICH)


def _same_raters(masks: Iterable[FileFacts]) -> Iterator[Finding]:
    """Masks of one subject and target by several raters."""
    drawn: dict[tuple[str, str], list[FileFacts]] = {}
    for one in masks:
        drawn.setdefault((one.subject, one.name), []).append(one)
    for several in drawn.values():
        for group in _alike(several):
            what = f"is the same mask as {_others(group, None)}"
            yield _about(group, "same mask by two raters", what, _RATERS)


def _others(group: Sequence[FileFacts], sets: Sets | None) -> str:
    """All of a group but the first, each with its set where there are sets."""
    first, *others = group
    return ", ".join(
        (f"that of {one.subject}, the same file" if one.path == first.path else str(one.path))
        + (f" ({set_of(one.subject, sets)})" if sets else "")
        for one in others
    )


def _about(
    group: Sequence[FileFacts], kind: str, what: str, do: str, is_error: bool = False
) -> Finding:
    first = group[0]
    return Finding("error" if is_error else "warning", kind, what, do, first.subject, first.path)
