"""Subjects, targets and copies of files that do not fit the division into sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from softseg.check.findings import FileSummary, Finding, Severity
from softseg.core.names import listing, natural_key
from softseg.data.masks import format_values
from softseg.data.splits import SETS, Sets, Split, case_variants, set_of
from softseg.data.subject import Subject


def find_groups_in_several_sets(
    subjects: Sequence[Subject], split: Split, sets: Sets
) -> Iterator[Finding]:
    """Yield persons, and groups of the split's column, with subjects in two of the sets.

    A person in two sets is an error, unless the split allows leaks.
    """
    for column in dict.fromkeys(("subject", "person", split.within or split.by)):
        groups: dict[str, dict[str, list[str]]] = {}  # value -> set -> subjects
        for subject in subjects:
            value = subject.value(column)
            if value is not None and subject.name in sets.members:
                of_value = groups.setdefault(value, {})
                of_value.setdefault(set_of(subject.name, sets), []).append(subject.name)
        for value in sorted(groups, key=natural_key):
            members = [(name, groups[value][name]) for name in SETS if name in groups[value]]
            if len(members) > 1:
                text = ", ".join(f"{name}: {listing(names, 3)}" for name, names in members)
                what = f"{column} {value} is in several sets ({text})"
                do = f"split by: {column}, or within: {column}, unless it is intended"
                severity: Severity = "warning"
                if column in ("subject", "person") and not split.allow_leak:
                    severity, do = "error", f"{do} (split.allow_leak: true)"
                yield Finding(severity, "person in several sets", what, do)


def find_unusual_values(subjects: Sequence[Subject], split: Split) -> Iterator[Finding]:
    """Yield values of the split's columns that differ only in case, and subjects without one."""
    for what in case_variants(subjects, split.columns):
        do = "correct the table if they are one group"
        yield Finding("warning", "values that differ in case", what, do)
    if what := split.missing_values(subjects):
        do = "add the values to the table if they are known"
        yield Finding("warning", "missing values", what, do)


def find_masks_given_as_none(
    targets: Sequence[str], subjects: Sequence[Subject]
) -> Iterator[Finding]:
    """Yield a note for each target that a table says some subjects have nothing of."""
    for target in targets:
        names = [s.name for s in subjects if None in s.labels.get(target, {}).values()]
        if names:
            what = f"the table says none for {target} of {listing(names)}: their masks are 0"
            yield Finding("note", "mask given as none", what, "nothing, if this is intended")


def find_targets_without_foreground(
    targets: Sequence[str], files: Sequence[FileSummary], subjects: Sequence[Subject], sets: Sets
) -> Iterator[Finding]:
    """Yield targets of which no training subject has a voxel, which training rejects."""
    training = [subject for subject in subjects if subject.name in sets.train]
    for target in targets:
        masks = [
            file.mask
            for file in files
            if file.kind == "mask" and file.name == target and file.subject in sets.train
        ]
        empty = [mask for mask in masks if mask is not None and mask.empty]
        given_as_none = any(None in s.labels.get(target, {}).values() for s in training)
        if (masks or given_as_none) and len(empty) == len(masks):
            held = format_values([0, *(value for mask in empty for value in mask.values)])
            what = f"no training subject has a voxel of {target}; its masks contain {held}"
            do = f"check the masks and dataset.targets.{target}.values"
            yield Finding("error", "target without foreground", what, do)


_WHICH = "find out which of them is right, and leave the others out with dataset.exclude"
_ONE_SIDE = (
    "keep it on one side of the split: leave the others out with dataset.exclude, or set "
    "split.allow_leak: true"
)
_RATERS = "check that a rater's mask was not saved again under another's name"


def find_duplicates(
    files: Sequence[FileSummary], sets: Sets | None, allow_leak: bool = False
) -> Iterator[Finding]:
    """Yield images, masks of different subjects and masks of different raters with equal voxels.

    The same image in two sets is an error, unless the split allows leaks. Constant images and empty
    masks, which are equal without being copies, are not duplicates; other findings report them.
    """
    images = [file for file in files if file.kind == "image" and not file.volume.is_constant]
    for group in _equal_files(images):
        first, members = group[0], {set_of(file.subject, sets) for file in group}
        own = f" ({set_of(first.subject, sets)})" if sets else ""
        what = f"has the same voxels{own} as {_others(group, sets)}"
        names = {"train": "training", "validation": "validation", "test": "test"}
        shared_by = [text for name, text in names.items() if name in members]
        if len(shared_by) > 1 and not allow_leak:
            kind = f"same image content in {' and '.join(shared_by)}"
            yield Finding("error", kind, what, _ONE_SIDE, first.subject, first.path)
        else:
            yield _warning(group, "same image content", what, _WHICH)
    masks = [file for file in files if file.kind == "mask" and file.mask and not file.mask.empty]
    for group in _equal_files(masks):
        if len({file.subject for file in group}) > 1:
            what = f"is the same mask as {_others(group, sets)}"
            yield _warning(group, "same mask for two subjects", what, _WHICH)
    raters: dict[tuple[str, str], list[FileSummary]] = {}
    for file in masks:
        raters.setdefault((file.subject, file.name), []).append(file)
    for masks_of_target in raters.values():
        for group in _equal_files(masks_of_target):
            what = f"is the same mask as {_others(group, None)}"
            yield _warning(group, "same mask by two raters", what, _RATERS)


def _equal_files(files: Iterable[FileSummary]) -> list[list[FileSummary]]:
    """Return groups of several files (or one file of several subjects) with equal voxels."""
    groups: dict[str, dict[tuple[str, Path], FileSummary]] = {}
    for file in sorted(files, key=lambda f: (natural_key(f.subject), natural_key(str(f.path)))):
        group = groups.setdefault(file.volume.digest, {})
        group.setdefault((file.subject, file.path), file)
    return [list(group.values()) for group in groups.values() if len(group) > 1]


def _others(group: Sequence[FileSummary], sets: Sets | None) -> str:
    """Return all of a group except the first, each with its set if there are sets."""
    first, *others = group
    return ", ".join(
        (f"that of {file.subject}, the same file" if file.path == first.path else str(file.path))
        + (f" ({set_of(file.subject, sets)})" if sets else "")
        for file in others
    )


def _warning(group: Sequence[FileSummary], kind: str, what: str, do: str) -> Finding:
    return Finding("warning", kind, what, do, group[0].subject, group[0].path)
