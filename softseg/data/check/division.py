"""What the split does with the subjects: who is in which set, and who is in two of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from softseg.data.check.facts import FileFacts
from softseg.data.check.findings import Finding
from softseg.data.names import listed, natural
from softseg.data.reading import told
from softseg.data.split_file import SETS, Sets
from softseg.data.splits import Split
from softseg.data.subjects import Subject


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
        for value in sorted(groups, key=natural):
            yield from _torn(column, value, groups[value], sets)


def _torn(column: str, value: str, group: Sequence[Subject], sets: Sets) -> Iterator[Finding]:
    where = {name: [one.name for one in group if set_of(one.name, sets) == name] for name in SETS}
    there = {name: members for name, members in where.items() if members}
    if len(there) > 1:
        told = ", ".join(f"{name}: {listed(members, 3)}" for name, members in there.items())
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
            held = told(value for mask in empty for value in mask.values)
            what = f"no training subject has a voxel of {target}; its masks hold the values {held}"
            do = f"check them and dataset.targets.{target}.values"
            yield Finding("error", "target without foreground", what, do)
